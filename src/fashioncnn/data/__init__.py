"""Images and labels: where they come from, and in which order they are fed."""
