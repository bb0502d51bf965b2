"""What a saved model consists of, without torch."""
