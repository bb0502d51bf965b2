"""Labeled datasets: loading, verification, download, splits, and the order of training images."""
