"""Threads of PyTorch and the compiled kernels: how many, how they wait; imports nothing large."""

from __future__ import annotations

import os
import re
import sys

SPIN_LIMITS = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
"""Iterations of libgomp, which PyTorch uses on Linux, about 20 µs; milliseconds of the OpenMP
libraries of LLVM and Intel, which it uses on macOS and Windows."""


def configure_openmp() -> None:
    """Make waiting OpenMP threads sleep soon, and their number exact.

    Call it before torch is imported; later it has no effect. By default they spin for milliseconds
    on cores that other threads and programs need. A step then waits for a thread that has no core:
    beside busy programs, two threads were up to ten times slower than one
    (docs/guide/performance.md). Variables set by the user take precedence, except for OMP_DYNAMIC,
    which gives PyTorch fewer threads than it expects: its gradients are then incorrect
    (`fashioncnn.devices.resolve_runtime`).
    """
    if "torch" in sys.modules:
        return
    if os.environ.get("OMP_DYNAMIC"):
        os.environ["OMP_DYNAMIC"] = "FALSE"
    if "OMP_WAIT_POLICY" in os.environ:
        return
    for variable, value in SPIN_LIMITS.items():
        os.environ.setdefault(variable, value)


def thread_limit() -> int | None:
    """Return the largest number of threads that the user's variables let OpenMP have; None without.

    PyTorch does not know it, and its gradients are incorrect with more.
    """
    if os.environ.get("OMP_MAX_ACTIVE_LEVELS", "").strip() == "0":
        return 1
    return positive_integer(os.environ.get("OMP_THREAD_LIMIT", ""))


def positive_integer(text: str) -> int | None:
    """Return the value of an OpenMP variable, of a list the first; None if it is not valid."""
    first = text.partition(",")[0].strip()
    return int(first) if re.fullmatch("0*[1-9][0-9]{0,8}", first, re.ASCII) else None
