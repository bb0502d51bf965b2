"""How the threads of PyTorch and of the compiled kernels wait; imports nothing large."""

from __future__ import annotations

import os
import sys

SPIN_LIMITS = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
"""Iterations of libgomp, which PyTorch uses on Linux, about 20 µs; milliseconds of the OpenMP
libraries of LLVM and Intel, which it uses on macOS and Windows."""


def limit_spinning() -> None:
    """Make waiting OpenMP threads sleep soon; call it before torch is imported.

    By default they spin for milliseconds on cores that other threads and programs need. A step then
    waits for a thread that has no core: beside busy programs, two threads were up to ten times
    slower than one (docs/guide/performance.md). Has no effect once torch is imported. Variables set
    by the user take precedence.
    """
    if "torch" in sys.modules or "OMP_WAIT_POLICY" in os.environ:
        return
    for variable, value in SPIN_LIMITS.items():
        os.environ.setdefault(variable, value)
