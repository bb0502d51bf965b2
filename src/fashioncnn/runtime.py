"""The machine: device, threads, precision, memory, and a record of all of them.

torch is imported inside the functions, so that the command line can answer without it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fashioncnn.config import kernels_from_environment
from fashioncnn.errors import MissingExtraError, OutOfMemoryError, UsageError
from fashioncnn.settings import DEVICE_NAME, DEVICE_NAMES, RuntimeConfig

if TYPE_CHECKING:
    import torch

RECORDED_PACKAGES = ("fashioncnn", "torch", "numpy", "pillow", "safetensors", "pydantic")


EXTRAS = {
    "predict": ("torch",),
    "train": ("torch", "matplotlib", "jinja2", "scipy"),
    "tune": ("torch", "matplotlib", "jinja2", "scipy", "optuna"),
}
"""Modules that each task needs beyond the base install."""


def require_modules(task: str) -> None:
    """Raise `MissingExtraError` with the install command if a module of `EXTRAS` is missing."""
    for module in EXTRAS[task]:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError("tune" if module == "optuna" else "train", module)


def require_train_extra() -> None:
    """See `require_modules`."""
    require_modules("train")


def require_tune_extra() -> None:
    """See `require_modules`."""
    require_modules("tune")


@contextlib.contextmanager
def report_out_of_memory(what: str, device: object, remedy: str) -> Iterator[None]:
    """Tell in one line that there is not enough memory for `what`, where that is so.

    Raises:
        OutOfMemoryError: instead of what PyTorch raises then.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in ("out of memory", "can't allocate memory")):
            raise
        raise OutOfMemoryError(f"{what}: not enough memory on {device}; try {remedy}") from None


def resolve_runtime(config: RuntimeConfig) -> RuntimeConfig:
    """Return the settings with every ``auto`` replaced by what this machine offers.

    Raises:
        UsageError: the device or the kernels that were asked for cannot be had.
    """
    device = resolve_device(config.device)
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if has_bf16(device) else "fp32"
    threads = available_cores() if config.threads == "auto" else config.threads
    kernels = resolve_kernels(config.kernels, device)
    return RuntimeConfig(device=str(device), precision=precision, threads=threads, kernels=kernels)


def resolve_kernels(name: str, device: torch.device) -> Literal["native", "torch"]:
    """Return the kernels that `name` stands for here.

    ``auto`` is native where they can be had: in fp32 for everything, in bf16 for all but the
    convolutions, which oneDNN does with the processor's instructions for it.

    Raises:
        UsageError: ``native`` was asked for and cannot be had.
    """
    from fashioncnn.kernels import why_not_native

    if name == "torch":
        return "torch"
    reason = why_not_native() if device.type == "cpu" else f"they run on the CPU, not on {device}"
    if reason is None:
        return "native"
    if name == "native":
        raise UsageError(f"kernels = native: {reason}; try --kernels torch")
    return "torch"


def resolve_device(name: str) -> torch.device:
    """Return the device called `name`; ``auto`` is CUDA, else MPS, else CPU.

    Raises:
        UsageError: there is no such name, or no such device here.
    """
    require_modules("predict")
    import torch

    if not DEVICE_NAME.fullmatch(name):
        raise UsageError(f"device = {name}: should be {DEVICE_NAMES}")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            there = f"there are {count}" if count else "there is none"
            raise UsageError(f"device = {name}: no such GPU here ({there}); try --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device = mps: not available on this machine; try --device cpu")
    return device


def prepare_prediction(name: str) -> torch.device:
    """Return the device called `name`, set up for predicting.

    On the CPU the whole process so keeps freed memory and takes the compiled kernels where they
    can be had, unless ``FASHIONCNN_KERNELS=torch``. Its threads stay as they are.

    Raises:
        UsageError: there is no such name, or no such device here.
    """
    device = resolve_device(name)
    if device.type == "cpu":
        from fashioncnn import kernels

        configure_allocator()
        kernels.use(resolve_kernels(kernels_from_environment(), device))
    return device


def use_passive_waiting() -> None:
    """Have OpenMP's threads sleep while they wait, not spin; to be called before torch is imported.

    What decodes images on the same cores needs them meanwhile: on two cores that others share,
    images from files took a third to a half less processor time so (docs/LOG.md). A person's own
    ``OMP_WAIT_POLICY`` goes first.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 in hardware, by its own flags."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags())


@lru_cache(maxsize=1)
def cpu_flags() -> frozenset[str]:
    """Return the processor's feature flags; empty where the system does not tell them."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features")).split())


def prepare_torch(config: RuntimeConfig) -> torch.device:
    """Set threads, kernels, determinism and the allocator, and return the device to run on.

    Args:
        config: resolved, see `resolve_runtime`.
    """
    require_train_extra()
    import torch

    from fashioncnn import kernels

    torch.set_num_threads(int(config.threads))
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    configure_allocator()
    kernels.use(config.kernels)
    return resolve_device(config.device)


def configure_allocator() -> None:
    """Have glibc keep big freed blocks instead of handing them back to the kernel.

    The activations of a step are freed and asked for again at every step; without this the
    kernel zeroes their pages anew each time (measured by benchmarks/step.py, see docs/LOG.md).
    """
    if sys.platform != "linux":
        return
    m_trim_threshold, m_mmap_threshold = -1, -3  # malloc.h of glibc
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(m_mmap_threshold, 1 << 30)
        mallopt(m_trim_threshold, (1 << 31) - 1)


def peak_memory_bytes() -> int:
    """Return the largest resident size this process has had, in bytes; 0 where not told."""
    try:
        # What `getrusage` tells of a process on Linux begins with the size of its parent.
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


def describe_environment(config: RuntimeConfig, data: dict[str, Any]) -> dict[str, Any]:
    """Return what a run depended on: versions, machine, settings of the runtime, data hashes."""
    import torch

    device = torch.device(config.device)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "schema": 1,
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
    """Return the processor's name as the system tells it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    """Return the first value of `key` that Linux tells of its processors, or ``""``."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the commit of the checkout this package runs from, marked where it was changed."""
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
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
