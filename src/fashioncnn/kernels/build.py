"""Compilation of the kernels for this processor, once per machine.

GCC compiles the C files at first use, in 10 to 20 seconds. The library is cached under a name
derived from source, options, compiler and processor. A new library must pass
`self_test.find_fault`. It is not linked to an OpenMP library: its loops run on the threads of the
one that torch has loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from pathlib import Path

import torch  # loads the OpenMP library

from fashioncnn.errors import KernelError, WriteError
from fashioncnn.files import write_atomic
from fashioncnn.kernels.cache import cached_path, is_trusted, store
from fashioncnn.kernels.library import Kernels
from fashioncnn.kernels.self_test import find_fault

SOURCES = (
    *("simd.c", "matmul.c", "matmul_bf16.c", "winograd.c", "tiles.c", "convolution.c"),
    *("adam.c", "batch_norm.c", "pooling.c"),
)
"""Concatenated in this order and compiled as one file, so that everything can be inlined."""
COMPILERS = ("gcc", "cc")
OPTIONS = [
    *("-std=gnu11", "-O3", "-march=native", "-fopenmp", "-fPIC"),
    *("-fno-math-errno", "-Wno-psabi"),
]
ERROR_LENGTH = 200
COMPILE_SECONDS = 300


def load_kernels() -> Kernels:
    """Return the compiled kernels, compiled first if the cache does not have them.

    Raises:
        KernelError: not on Linux, no working compiler, or a library that failed its self-test.
    """
    result = _load_once()
    if isinstance(result, KernelError):
        raise KernelError(str(result))
    return result


def unavailable_reason() -> str | None:
    """Return in one line why the compiled kernels cannot be used here; None if they can."""
    result = _load_once()
    return str(result) if isinstance(result, KernelError) else None


@lru_cache(maxsize=1)
def _load_once() -> Kernels | KernelError:
    """Return the library, or why there is none; decided once per process."""
    if sys.platform != "linux":
        return KernelError(f"they need Linux, and this is {sys.platform}")
    fault = KernelError("no C compiler found (Debian: apt install gcc libc6-dev)")
    for compiler in _compilers():
        try:
            return _load_or_compile(compiler)
        except KernelError as error:
            fault = error
        except OSError as error:
            fault = KernelError(f"no folder to compile them in ({error.strerror})")
        except WriteError as error:
            fault = KernelError(f"no folder to compile them in ({error.reason})")
    return fault


def _load_or_compile(compiler: list[str]) -> Kernels:
    source = read_source()
    cached = cached_path(_fingerprint(source, compiler))
    if cached is not None and is_trusted(cached):
        with contextlib.suppress(KernelError):  # a file system mounted noexec
            return _load(cached)
    with tempfile.TemporaryDirectory(prefix="fashioncnn-") as folder:
        library = _compile(source, compiler, Path(folder))
        kernels = _load_new(library, cached)
        fault = find_fault(kernels)
        if fault:
            raise KernelError(fault)
        if cached is not None:
            store(library, cached)
    return kernels


def _load_new(library: Path, cached: Path | None) -> Kernels:
    """Load a new library, from the folder of the cache if the temporary one is mounted noexec."""
    try:
        return _load(library)
    except KernelError:
        if cached is None:
            raise
        with contextlib.suppress(OSError, WriteError, KernelError):
            cached.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="fashioncnn-", dir=cached.parent) as folder:
                copy = Path(folder, library.name)
                write_atomic(copy, library.read_bytes(), 0o700)
                return _load(copy)
        raise


def read_source() -> bytes:
    """Return the C files as one, with ``#line`` directives for messages."""
    folder = resources.files("fashioncnn") / "kernels"
    files = (f'#line 1 "{name}"\n'.encode() + (folder / name).read_bytes() for name in SOURCES)
    return b"\n".join(files)


def _compilers() -> Iterator[list[str]]:
    """Yield the installed compilers as commands with arguments: ``CC`` first."""
    try:
        configured = shlex.split(os.environ.get("CC", ""))
    except ValueError:  # an unclosed quotation mark
        configured = []
    for words in (configured, *([name] for name in COMPILERS)):
        found = shutil.which(words[0]) if words else None
        if found:
            yield [found, *words[1:]]


def _fingerprint(source: bytes, compiler: list[str]) -> str:
    """Return a hash of everything that determines the library."""
    version = _run([*compiler, "--version"])
    processor = _run([*compiler, "-march=native", "-Q", "--help=target"])
    text = "\0".join([*OPTIONS, *compiler, version, processor, torch.__version__])
    return hashlib.sha256(source + text.encode()).hexdigest()[:32]


def _compile(source: bytes, compiler: list[str], folder: Path) -> Path:
    file, compiled, linked = folder / "k.c", folder / "k.o", folder / "k.so"
    write_atomic(file, source)
    _run([*compiler, *OPTIONS, "-c", str(file), "-o", str(compiled)])
    _run([*compiler, "-shared", str(compiled), "-o", str(linked)])  # without OPTIONS: no libgomp
    return linked


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMPILE_SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise KernelError(f"{command[0]} could not be run ({error})") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        message = next((line for line in lines if "error" in line), lines[0])
        raise KernelError(f"{command[0]} could not compile them ({message[:ERROR_LENGTH]})")
    return done.stdout


def _load(path: Path) -> Kernels:
    try:
        return Kernels(path)
    except (OSError, AttributeError) as error:
        raise KernelError(f"the compiled library does not load ({error})") from None
