"""Augmentation of batches of training images on the CPU or an accelerator."""
