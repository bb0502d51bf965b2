"""Image files to arrays: limits, decoding, segmentation, views."""
