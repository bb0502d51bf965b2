"""How good is a network: its logits, and what they say."""
