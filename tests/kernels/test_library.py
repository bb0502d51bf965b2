"""The loaded library as an object: copies, pickles, threads, memory."""

import copy
import ctypes
import pickle
import shutil
from pathlib import Path

import pytest

from fashioncnn.devices import report_out_of_memory
from fashioncnn.errors import OutOfMemoryError
from fashioncnn.kernels import Kernels
from fashioncnn.kernels.library import BatchNormOptions, ConvShape, PoolShape
from fashioncnn.kernels.tensors import check_status

from .conftest import SANITIZE

HUGE = 2**48
"""Channels whose scratch memory exceeds the address space."""


def test_copies_share_the_library(native):
    assert copy.deepcopy({"kernels": native})["kernels"] is native
    assert copy.copy(native) is native


def test_unpickling_loads_the_kernels_of_this_machine(native):
    assert pickle.loads(pickle.dumps(native)) is native


def test_library_is_compiled_with_openmp(native):
    assert native.has_openmp() == 1


def test_library_runs_on_the_openmp_of_torch(library, tmp_path):
    def openmp_libraries():
        lines = Path("/proc/self/maps").read_text().splitlines()
        return {line.split()[-1] for line in lines if "libgomp" in line or "libomp" in line}

    before = openmp_libraries()
    Kernels(Path(shutil.copy(library, tmp_path / "copy.so")))
    assert openmp_libraries() == before


@pytest.mark.skipif(not SANITIZE, reason="run by make sanitize")
def test_library_is_instrumented(library):
    assert b"__asan_init" in library.read_bytes()
    assert b"__ubsan_handle" in library.read_bytes()


def test_failed_allocation_is_reported_as_out_of_memory():
    with (
        pytest.raises(OutOfMemoryError, match="a step: not enough memory on cpu; try less"),
        report_out_of_memory("a step", "cpu", "less"),
    ):
        check_status(1)


@pytest.mark.parametrize(
    ("function", "pointers", "options"),
    [
        ("conv_forward", 6, ConvShape(1, 4, 4, 1, HUGE, 1, 1)),
        ("conv_backward", 9, ConvShape(1, 4, 4, 1, HUGE, 1, 1)),
        ("batch_norm_forward", 9, BatchNormOptions(1, HUGE, 0, 0, 0.1, 1e-5)),
        ("batch_norm_backward", 10, BatchNormOptions(1, HUGE, 0, 0, 0.1, 1e-5)),
        ("pool_relu_backward", 4, PoolShape(1, 2, 2, HUGE, 0)),
    ],
)
def test_kernel_returns_1_if_memory_is_exhausted(native, function, pointers, options):
    assert getattr(native, function)(*[None] * pointers, ctypes.byref(options), 1) == 1
