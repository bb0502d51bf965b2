"""The state of torch and NumPy that belongs to the caller of a library, for tests."""

import contextlib

import numpy as np
import torch


def describe_state():
    """Return what a library call must leave unchanged."""
    return {
        "random numbers": torch.get_rng_state().tolist(),
        "NumPy's random numbers": np.random.get_state()[1].tolist(),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "threads": torch.get_num_threads(),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
    }


@contextlib.contextmanager
def two_threads():
    """Run a block with two threads, and go back to the one thread of the tests."""
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(1)
