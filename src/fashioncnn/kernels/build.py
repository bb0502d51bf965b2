"""Compile the kernels for this very processor, once, and load them.

They are plain C, in files that make one source, compiled by GCC at their first use (some five
seconds) and kept in the cache, under a name made from the source, the compiler and the processor.
Before a fresh library is kept, its answers are compared with PyTorch's. Its loops run on the
threads that PyTorch has already: it is linked to no OpenMP library, and finds torch's own when it
is loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch  # brings the OpenMP threads that the library runs on

from fashioncnn.errors import KernelError, UsageError
from fashioncnn.files import cache_folder

SOURCES = ("kernels.c", "norm.c")
"""In the order in which they make one source."""
COMPILERS = ("gcc", "cc")
OPTIONS = ["-std=gnu11", "-O3", "-march=native", "-fopenmp", "-fPIC"]
OPTIONS += ["-fno-math-errno", "-Wno-psabi"]
ERROR_LENGTH = 200
SEAL = hashlib.sha256().digest_size
"""Bytes at the end of a kept library, which no loader looks at: the hash of those before."""


class Shape(ctypes.Structure):
    """What `kernels.c` calls a shape: sizes in images, pixels and channels."""

    _fields_ = [
        (name, ctypes.c_long)
        for name in ("images", "height", "width", "inputs", "outputs", "padding", "pooled")
    ]


class AdamStep(ctypes.Structure):
    """What `kernels.c` calls adam: how to step, in its terms."""

    _fields_ = [
        (name, ctypes.c_float)
        for name in ("size", "gain1", "gain2", "beta2", "eps", "root", "decay", "shrink")
    ]


class Norm(ctypes.Structure):
    """What `norm.c` calls a norm: how to normalise."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("rows", "channels", "half", "rectified")),
        *((name, ctypes.c_double) for name in ("momentum", "eps")),
    ]


class Planes(ctypes.Structure):
    """What `norm.c` calls planes: sizes of what is pooled."""

    _fields_ = [(name, ctypes.c_long) for name in ("images", "height", "width", "channels", "half")]


class Kernels(ctypes.CDLL):
    """The functions of `kernels.c` and `norm.c`.

    Attributes:
        multiple: what numbers of channels must be multiples of.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        pointer, stride = ctypes.c_void_p, ctypes.POINTER(ctypes.c_long)
        shape, threads = ctypes.POINTER(Shape), ctypes.c_int
        images: list[Any] = [pointer, pointer, stride]  # and weights
        gradients: list[Any] = [pointer, pointer, pointer, pointer, stride, pointer]
        self.convolve.argtypes = [*images, *[pointer] * 3, shape, threads]
        self.convolve_back.argtypes = [*images, *gradients, shape, threads]
        step = ctypes.POINTER(AdamStep)
        self.adam_step.argtypes = [*[pointer] * 4, ctypes.c_long, step, threads]
        self.adam_step.restype = None
        norm, planes = ctypes.POINTER(Norm), ctypes.POINTER(Planes)
        self.normalize_with.argtypes = [*[pointer] * 4, norm, threads]
        self.normalize_with.restype = None
        self.normalise_forward.argtypes = [*[pointer] * 9, norm, threads]
        self.normalise_back.argtypes = [*[pointer] * 10, norm, threads]
        self.pool_forward.argtypes = self.pool_back.argtypes = [*[pointer] * 4, planes, threads]
        self.pool_forward.restype = None
        self.multiple = 2 * int(self.lanes())


def source() -> bytes:
    """Return what is compiled."""
    folder = resources.files("fashioncnn") / "kernels"
    return b"\n".join((folder / name).read_bytes() for name in SOURCES)


def library(check: Callable[[Kernels], str | None]) -> Kernels:
    """Return the loaded kernels, compiled first where they are not in the cache yet.

    Args:
        check: what a fresh library has to pass; returns what is wrong with it, or None.

    Raises:
        KernelError: there is no compiler, or none could make what passes the check.
    """
    found = _outcome(check)
    if isinstance(found, KernelError):
        raise KernelError(str(found))
    return found


@lru_cache(maxsize=1)
def _outcome(check: Callable[[Kernels], str | None]) -> Kernels | KernelError:
    """Return the library, or why there is none: found out once in a process."""
    if sys.platform != "linux":
        return KernelError(f"they are made for Linux, and this is {sys.platform}")
    fault = KernelError("there is no C compiler here (Debian: apt install gcc libc6-dev)")
    for compiler in _compilers():
        try:
            return _find_or_make(source(), compiler, check)
        except KernelError as error:
            fault = error
        except OSError as error:
            fault = KernelError(f"there is no place to compile them in ({error.strerror})")
    return fault


def _find_or_make(
    source: bytes, compiler: list[str], check: Callable[[Kernels], str | None]
) -> Kernels:
    kept = _kept_path(_fingerprint(source, compiler))
    if kept is not None and _is_ours_and_whole(kept):
        with contextlib.suppress(KernelError):  # a cache on a file system that executes nothing
            return _load(kept)
    with tempfile.TemporaryDirectory(prefix="fashioncnn-") as folder:
        fresh = _compile(source, compiler, Path(folder))
        loaded = _load(fresh)
        fault = check(loaded)
        if fault:
            raise KernelError(fault)
        if kept is not None:
            _keep(fresh, kept)
    return loaded


def _kept_path(fingerprint: str) -> Path | None:
    try:
        return cache_folder() / "kernels" / f"{fingerprint}.so"
    except UsageError:  # nobody's home: a user that the system does not know
        return None


def _compilers() -> Iterator[list[str]]:
    """Yield the compilers to try, each with its arguments: ``CC``, then what is usual."""
    try:
        named = shlex.split(os.environ.get("CC", ""))
    except ValueError:  # an open quotation, which is no compiler's name
        named = []
    for words in (named, *([name] for name in COMPILERS)):
        found = shutil.which(words[0]) if words else None
        if found:
            yield [found, *words[1:]]


def _fingerprint(source: bytes, compiler: list[str]) -> str:
    """Return a name for what would be compiled: source, options, compiler, processor."""
    version = _run([*compiler, "--version"])
    native = _run([*compiler, "-march=native", "-Q", "--help=target"])
    text = "\0".join([*OPTIONS, *compiler, version, native, torch.__version__])
    return hashlib.sha256(source + text.encode()).hexdigest()[:32]


def _compile(source: bytes, compiler: list[str], folder: Path) -> Path:
    file, compiled, linked = folder / "k.c", folder / "k.o", folder / "k.so"
    file.write_bytes(source)
    _run([*compiler, *OPTIONS, "-c", str(file), "-o", str(compiled)])
    _run([*compiler, "-shared", str(compiled), "-o", str(linked)])
    return linked


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise KernelError(f"{command[0]} could not be run ({error})") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        told = next((line for line in lines if "error" in line), lines[0])
        raise KernelError(f"{command[0]} could not compile them ({told[:ERROR_LENGTH]})")
    return done.stdout


def _load(path: Path) -> Kernels:
    try:
        return Kernels(path)
    except (OSError, AttributeError) as error:
        raise KernelError(f"the compiled library does not load ({error})") from None


def _keep(fresh: Path, kept: Path) -> None:
    """Put the library into the cache in one step; a cache that cannot be written is no fault."""
    with contextlib.suppress(OSError):
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = fresh.read_bytes()
        handle, partial = tempfile.mkstemp(dir=kept.parent, prefix="partial-")  # ours alone
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content + hashlib.sha256(content).digest())
            Path(partial).replace(kept)
        except OSError:
            Path(partial).unlink(missing_ok=True)


def _is_ours_and_whole(kept: Path) -> bool:
    """Whether the file is there as this user wrote it.

    Loading one that was cut short would kill the process, and loading one that others can write
    to would run what they like.
    """
    try:
        status, content = kept.stat(), kept.read_bytes()
    except OSError:
        return False
    others_can_write = stat.S_IWGRP | stat.S_IWOTH
    return (
        status.st_uid == os.geteuid()
        and not status.st_mode & others_can_write
        and hashlib.sha256(content[:-SEAL]).digest() == content[-SEAL:]
    )
