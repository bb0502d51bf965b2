"""Metrics, calibration, stored predictions, and comparisons of models; without torch."""
