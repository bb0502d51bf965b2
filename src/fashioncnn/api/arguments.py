"""Arguments of the Python API that are no images, labels or settings: their types."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fashioncnn.errors import UsageError

CALLBACK_METHODS = ("on_start", "on_step", "on_epoch", "on_end", "on_artifacts")
"""Of `fashioncnn.training.callbacks.Callback`, which imports torch."""


def as_path(name: str, value: Any) -> Path:
    """Return a path or name as `Path`.

    Raises:
        UsageError: it is empty, or of another type.
    """
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{name} of type {type(value).__name__}: should be a path")
    if not os.fspath(value):
        raise UsageError(f"{name}: empty; should be a path")
    return Path(os.fsdecode(value))


def require_text(name: str, value: Any) -> None:
    """Raise `UsageError` unless a value is a string."""
    if not isinstance(value, str):
        raise UsageError(f"{name} of type {type(value).__name__}: should be a string")


def require_bool(name: str, value: Any) -> None:
    """Raise `UsageError` unless a value is True or False; the string ``"False"`` would be true."""
    if not isinstance(value, bool | np.bool_):
        raise UsageError(f"{name} = {value!r}: should be True or False")


def check_callbacks(callbacks: Any, progress: Any) -> None:
    """Raise `UsageError` unless callbacks of the training are in a list, and progress is a bool."""
    require_bool("progress", progress)
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        raise UsageError(
            f"callbacks of type {type(callbacks).__name__}: should be a list of callbacks"
        )
    for callback in callbacks:
        if isinstance(callback, type) or not all(hasattr(callback, m) for m in CALLBACK_METHODS):
            kind = callback.__name__ if isinstance(callback, type) else type(callback).__name__
            raise UsageError(
                f"callbacks: {kind} is no object of a class that derives from "
                "fashioncnn.training.callbacks.Callback"
            )


def as_count(name: str, value: Any, minimum: int) -> int:
    """Return an integer of Python or NumPy, of at least `minimum`; else raise `UsageError`."""
    is_integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_integer or value < minimum:
        raise UsageError(f"{name} = {value!r}: should be an integer of at least {minimum}")
    return int(value)
