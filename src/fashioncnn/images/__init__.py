"""Image files to model input: limits, decoding, segmentation, views."""
