"""The parts of a saved model that need no torch: specification, model folder, model card."""
