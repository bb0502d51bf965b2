"""The machine: processor, memory, allocator and a record of them. Imports no torch."""

from __future__ import annotations

import ctypes
import importlib.util
import math
import os
import platform
import subprocess
import sys
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from fashioncnn._version import __version__
from fashioncnn.cgroups import granted_cores
from fashioncnn.errors import MissingExtraError
from fashioncnn.openmp import positive_integer, thread_limit
from fashioncnn.settings import MAX_THREADS, SCHEMA, RuntimeConfig

RECORDED_PACKAGES = ("fashioncnn", "torch", "numpy", "pillow", "safetensors", "pydantic")
EXTRAS = {
    "compare": ("scipy",),
    "export": ("torch", "onnx", "onnxscript"),
    "pandas": ("pandas",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "ray": ("ray", "pyarrow", "pandas"),
    "report": ("matplotlib", "jinja2", "scipy"),
    "serve": ("fastapi", "uvicorn", "prometheus_client", "python_multipart"),
    "tensorboard": ("torch", "tensorboard"),
    "torch": ("torch",),
    "train": ("torch", "matplotlib", "jinja2", "scipy"),
    "postgres": ("torch", "matplotlib", "jinja2", "scipy", "optuna", "psycopg"),
    "tune": ("torch", "matplotlib", "jinja2", "scipy", "optuna"),
}
"""Modules that each task needs beyond the base install."""


EXTRA_OF_MODULE = {
    "alembic": "track",
    "fastapi": "serve",
    "mlflow": "track",
    "onnx": "train",
    "onnxscript": "train",
    "optuna": "tune",
    "pandas": None,
    "prometheus_client": "serve",
    "psycopg": "postgres",
    "pyarrow": "ray",
    "python_multipart": "serve",
    "ray": "ray",
    "sqlalchemy": "track",
    "tensorboard": "track",
    "torch": "train",
    "uvicorn": "serve",
}
"""The extra that installs a module of `EXTRAS`, ``report`` if it is not named here; None if it has
to be installed by itself."""


def is_installed(module: str) -> bool:
    """Return whether a module can be imported; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # of an import hook that blocks it
        return False


def require_modules(task: str) -> None:
    """Raise `MissingExtraError` with the install command if a module of `EXTRAS` is missing."""
    missing = [module for module in EXTRAS[task] if not is_installed(module)]
    if not missing:
        return
    extras = [EXTRA_OF_MODULE.get(module, "report") for module in missing]
    largest = next((extra for extra in ("postgres", "tune", "train") if extra in extras), extras[0])
    raise MissingExtraError(largest, missing[0])


def configure_allocator() -> None:
    """Make glibc keep large freed blocks instead of returning them to the kernel.

    Each step frees and allocates the same activations; otherwise the kernel zeroes their pages
    every time (measured by benchmarks/step_optimizations.py, see docs/LOG.md). Process-wide.
    """
    if sys.platform != "linux":
        return
    m_trim_threshold, m_mmap_threshold = -1, -3  # malloc.h of glibc
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(m_mmap_threshold, 1 << 30)
        mallopt(m_trim_threshold, (1 << 31) - 1)


def available_cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    Those of its CPU affinity (``taskset``), or fewer where control groups grant less processor
    time, as in a container with ``--cpus``; rounded up.
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    return math.ceil(min(cores, granted_cores() or math.inf))


def default_threads(processes: int = 1) -> int:
    """Return how many threads compute unless the user asks for a number.

    ``OMP_NUM_THREADS``, as in PyTorch and other programs with OpenMP; else one per available core,
    and no more than ``OMP_THREAD_LIMIT``.

    Args:
        processes: of this program that share the cores.
    """
    limit = min(thread_limit() or MAX_THREADS, MAX_THREADS)
    threads = min(max(1, available_cores() // processes), limit)
    requested = positive_integer(os.environ.get("OMP_NUM_THREADS", ""))
    if requested is None:
        return threads
    return min(requested, limit if processes == 1 else threads)


@lru_cache(maxsize=1)
def cpu_flags() -> frozenset[str]:
    """Return the processor's feature flags; empty where the system does not list them."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features")).split())


def address_space_bytes() -> int:
    """Return the size of the address space of this process in bytes; 0 where it is unknown."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmSize:"))
    except (OSError, StopIteration):
        return 0


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process in bytes; 0 where it is unknown."""
    try:
        # On Linux, getrusage starts with the size of the parent process.
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe_environment(
    config: RuntimeConfig, data: dict[str, Any], gpu: str | None = None
) -> dict[str, Any]:
    """Return the content of environment.json: versions, machine, runtime settings, data hashes.

    Args:
        config: resolved.
        data: name and SHA-256 by split.
        gpu: its name, if one is used.
    """
    return {
        "schema": SCHEMA,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in RECORDED_PACKAGES},
        "cpu": cpu_name(),
        "cores": available_cores(),
        "gpu": gpu,
        "device": config.device,
        "precision": config.precision,
        "threads": config.threads,
        "kernels": config.kernels,
        "data": data,
        "git_commit": _git_commit(),
    }


@lru_cache(maxsize=1)
def cpu_name() -> str:
    """Return the name of the processor."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    """Return the first value of `key` in Linux's /proc/cpuinfo, or ``""``."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


@cache  # parsing the metadata of a package takes milliseconds
def _version(package: str) -> str | None:
    """Return the version; that of this package is the one that runs.

    In a checkout installed as editable, the metadata are of the version that was installed.
    """
    if package == "fashioncnn":
        return __version__
    from importlib import metadata  # which imports the package email

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the commit of the checkout that contains this package, marked if it is dirty."""
    here = Path(__file__).resolve().parent
    if not (here.parents[1] / ".git").exists():
        return None
    command = [
        "git",
        "-C",
        str(here),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude=*",
    ]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return completed.stdout.strip() or None
