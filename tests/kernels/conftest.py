"""The compiled kernels as a fixture. ``make sanitize`` builds them with ASan and UBSan."""

import os
from pathlib import Path

import pytest

from fashioncnn.kernels import Kernels, build, load_kernels, unavailable_reason

SANITIZE = bool(os.environ.get("FASHIONCNN_SANITIZE"))
if SANITIZE:
    os.environ.pop("LD_PRELOAD", None)  # this process has the run-time libraries; GCC needs none
    build.COMPILE_SECONDS = 3600  # instrumented code compiles for minutes on a busy machine
    build.OPTIONS += [
        *("-O0", "-g", "-fno-omit-frame-pointer"),
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    ]


@pytest.fixture
def native(compiled) -> Kernels:
    """Return the compiled kernels, compiled once per session."""
    reason = unavailable_reason()
    if reason:
        (pytest.fail if SANITIZE else pytest.skip)(f"no compiled kernels: {reason}")
    return load_kernels()


@pytest.fixture
def native_bf16(native) -> Kernels:
    """Return the compiled kernels if they include convolutions in bfloat16."""
    if not native.bf16_convolutions:
        pytest.skip("this processor has no bfloat16 instructions for AVX-512")
    return native


@pytest.fixture
def library(native) -> Path:
    """Return the file of the compiled kernels."""
    fingerprint = build._fingerprint(build.read_source(), next(build._compilers()))
    return build.cached_path(fingerprint)
