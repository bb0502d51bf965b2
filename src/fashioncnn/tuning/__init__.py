"""Hyper-parameter search with Optuna: search spaces, studies in folders, worker processes."""
