"""Augmentation of whole batches of training images."""
