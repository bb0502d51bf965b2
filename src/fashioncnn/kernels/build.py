"""Compile the kernels for this very processor, once, and load them.

They are plain C, compiled by GCC at their first use (about two seconds) and kept in the cache,
under a name made from the source, the compiler and the processor. Before a fresh library is kept,
its answers are compared with PyTorch's. Its loops run on the threads that PyTorch has already:
it is linked to no OpenMP library, and finds torch's own when it is loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from pathlib import Path

import torch  # brings the OpenMP threads that the library runs on

from fashioncnn.config import cache_folder
from fashioncnn.errors import KernelError

COMPILERS = ("gcc", "cc")
OPTIONS = ["-std=gnu11", "-O3", "-march=native", "-fopenmp", "-fPIC", "-Wno-psabi"]
ERROR_LENGTH = 200
SEAL = hashlib.sha256().digest_size
"""Bytes at the end of a kept library, which no loader looks at: the hash of those before."""


class Shape(ctypes.Structure):
    """What `conv_pool.c` calls a shape: sizes in pictures, pixels and channels."""

    _fields_ = [
        (name, ctypes.c_long)
        for name in ("pictures", "height", "width", "inputs", "outputs", "padding")
    ]


@lru_cache(maxsize=1)
def library(check: Callable[[ctypes.CDLL], str | None]) -> ctypes.CDLL:
    """Return the loaded kernels, compiled first where they are not in the cache yet.

    Args:
        check: what a fresh library has to pass; returns what is wrong with it, or None.

    Raises:
        KernelError: there is no compiler, or it could not make what passes the check.
    """
    if sys.platform != "linux":
        raise KernelError(f"they are made for Linux, and this is {sys.platform}")
    source = (resources.files("fashioncnn") / "kernels" / "conv_pool.c").read_bytes()
    compiler = _compiler()
    kept = cache_folder() / "kernels" / f"{_fingerprint(source, compiler)}.so"
    if _whole(kept):
        return _load(kept)
    with tempfile.TemporaryDirectory(prefix="fashioncnn-") as folder:
        fresh = _compile(source, compiler, Path(folder))
        loaded = _load_checked(fresh, check)
        _keep(fresh, kept)
    return loaded


def _compiler() -> str:
    for name in (os.environ.get("CC", ""), *COMPILERS):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise KernelError("there is no C compiler here (Debian: apt install gcc libc6-dev)")


def _fingerprint(source: bytes, compiler: str) -> str:
    """Return a name for what would be compiled: source, options, compiler, processor."""
    version = _run([compiler, "--version"])
    native = _run([compiler, "-march=native", "-Q", "--help=target"])
    text = "\0".join([*OPTIONS, compiler, version, native, torch.__version__])
    return hashlib.sha256(source + text.encode()).hexdigest()[:32]


def _compile(source: bytes, compiler: str, folder: Path) -> Path:
    file, compiled, linked = folder / "k.c", folder / "k.o", folder / "k.so"
    file.write_bytes(source)
    _run([compiler, *OPTIONS, "-c", str(file), "-o", str(compiled)])
    _run([compiler, "-shared", str(compiled), "-o", str(linked)])
    return linked


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise KernelError(f"{command[0]} could not be run ({error})") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        told = next((line for line in lines if "error" in line), lines[0])
        raise KernelError(f"{command[0]} could not compile them ({told[:ERROR_LENGTH]})")
    return done.stdout


def _load_checked(path: Path, check: Callable[[ctypes.CDLL], str | None]) -> ctypes.CDLL:
    try:
        loaded = _load(path)
    except OSError as error:
        raise KernelError(f"the compiled library does not load ({error})") from None
    fault = check(loaded)
    if fault:
        raise KernelError(fault)
    return loaded


def _load(path: Path) -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(path))
    pointer, stride = ctypes.c_void_p, ctypes.POINTER(ctypes.c_long)
    shape, threads = ctypes.POINTER(Shape), ctypes.c_int
    loaded.turn_pictures.argtypes = [pointer] * 2 + [ctypes.c_long] * 3 + [ctypes.c_int] * 2
    loaded.conv_pool_forward.argtypes = [*[pointer] * 2, stride, *[pointer] * 3, shape, threads]
    loaded.conv_pool_backward.argtypes = [
        *[pointer] * 2,
        stride,
        *[pointer] * 4,
        stride,
        pointer,
        shape,
        threads,
    ]
    return loaded


def _keep(fresh: Path, kept: Path) -> None:
    """Put the library into the cache in one step; a cache that cannot be written is no fault."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"{kept.name}.{os.getpid()}")
        content = fresh.read_bytes()
        partial.write_bytes(content + hashlib.sha256(content).digest())
        partial.replace(kept)
    except OSError:
        pass


def _whole(kept: Path) -> bool:
    """Whether the file is there as it was written; loading one cut short would kill the process."""
    try:
        content = kept.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-SEAL]).digest() == content[-SEAL:]
