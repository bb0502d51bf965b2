"""The HTTP service: an API for predictions, and a page that uses it."""
