"""Put a trained network to use."""
