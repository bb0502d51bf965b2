"""Experiment tracking with TensorBoard and MLflow: optional, and never a reason for a failure."""
