"""Devices, precision and the state of torch that is shared by the whole process."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

from fashioncnn.environment import (
    available_cores,
    configure_allocator,
    cpu_flags,
    default_threads,
)
from fashioncnn.errors import OutOfMemoryError, UsageError
from fashioncnn.kernels import unavailable_reason
from fashioncnn.settings import DEVICE_NAME, DEVICE_NAMES, KernelsName, RuntimeConfig


def resolve_device(name: str) -> torch.device:
    """Return the device called `name`; ``auto`` is CUDA, else MPS, else CPU.

    Raises:
        UsageError: the name is not valid, or the device does not exist.
    """
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
            raise UsageError(f"device = {name}: no such GPU ({count} available); try --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device = mps: not available on this machine; try --device cpu")
    return device


def has_bf16(device: torch.device) -> bool:
    """Return whether the processor has bfloat16 instructions."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool({"avx512_bf16", "amx_bf16", "bf16"} & cpu_flags())


def resolve_kernels(name: str, device: torch.device) -> KernelsName:
    """Return the CPU kernels for the setting ``runtime.kernels``; ``auto`` prefers native ones.

    Raises:
        UsageError: ``native`` or ``mixed`` is not possible.
    """
    if name == "torch":
        return "torch"
    reason = unavailable_reason() if device.type == "cpu" else f"they need the CPU, not {device}"
    if reason is None:
        return "mixed" if name == "mixed" else "native"
    if name != "auto":
        raise UsageError(f"kernels = {name}: {reason}; try --kernels torch")
    return "torch"


def resolve_runtime(config: RuntimeConfig) -> RuntimeConfig:
    """Return the runtime settings with every ``auto`` replaced for this process.

    The number of threads is shared by the whole process and is not changed here: ``auto`` is the
    current one.

    On the CPU, OpenMP has to grant PyTorch as many threads as it expects: with fewer, its gradients
    of convolutions' weights are incorrect (oneDNN; found with torch 2.13).

    Raises:
        UsageError: the device, the kernels or the number of threads is not available.
    """
    device = resolve_device(config.device)
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if has_bf16(device) else "fp32"
    threads = torch.get_num_threads()
    if config.threads not in ("auto", threads):
        raise UsageError(
            f"threads = {config.threads}: this process uses {threads}; call "
            f"torch.set_num_threads({config.threads}) before"
        )
    if device.type == "cpu" and threads > (granted := _granted_threads()):
        raise UsageError(
            f"threads = {threads}: OpenMP grants {granted}, and PyTorch's gradients are incorrect "
            f"then; use --threads {granted} (in Python: torch.set_num_threads), or unset "
            "OMP_THREAD_LIMIT, OMP_DYNAMIC and OMP_MAX_ACTIVE_LEVELS"
        )
    kernels = resolve_kernels(config.kernels, device)
    return RuntimeConfig(device=str(device), precision=precision, threads=threads, kernels=kernels)


def configure_process(threads: int | Literal["auto"], processes: int = 1) -> None:
    """Set the number of threads and the allocator of this process; for the command line only.

    Args:
        threads: ``auto`` is `default_threads`.
        processes: that torchrun started and that share the cores; it sets ``OMP_NUM_THREADS`` for
            them unless the user has.
    """
    default = default_threads() if processes == 1 else max(1, available_cores() // processes)
    torch.set_num_threads(default if threads == "auto" else threads)
    configure_allocator()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread in this block, without an effect on other threads of the program.

    `torch.set_num_threads` also sets the number of threads that begin to use torch meanwhile, which
    they keep. It is called only where OpenMP's own setting is not found.
    """
    threads, openmp = torch.get_num_threads(), _openmp()
    if openmp is None:
        torch.set_num_threads(1)
    else:
        openmp.omp_set_num_threads(1)
        mkl_threads = _set_mkl_threads(openmp, 1)
    try:
        yield
    finally:
        if openmp is None:
            torch.set_num_threads(threads)
        else:
            openmp.omp_set_num_threads(threads)
            _set_mkl_threads(openmp, mkl_threads)


def _set_mkl_threads(library: ctypes.CDLL, threads: int) -> int:
    """Set the number of MKL's threads for this thread, if there is MKL; return the one before."""
    try:
        return int(library.MKL_Set_Num_Threads_Local(threads))
    except AttributeError:
        return threads


def _granted_threads() -> int:
    """Return how many threads OpenMP grants at most; that of PyTorch where it is not known."""
    openmp = _openmp()
    if openmp is None:
        return torch.get_num_threads()
    if openmp.omp_get_dynamic() or openmp.omp_get_max_active_levels() < 1:
        return 1
    return int(openmp.omp_get_thread_limit())


@lru_cache(maxsize=1)
def _openmp() -> ctypes.CDLL | None:
    """Return PyTorch's library with OpenMP, and mostly MKL; None where it has another one."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        _ = library.omp_set_num_threads, library.omp_get_dynamic
        _ = library.omp_get_thread_limit, library.omp_get_max_active_levels
    except (OSError, AttributeError):
        return None
    return library


def gpu_name(device: torch.device) -> str | None:
    """Return the name of a CUDA device; None for others."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


@contextlib.contextmanager
def default_modes() -> Iterator[None]:
    """Run a block with gradients, without inference mode and without autocast.

    These modes belong to the thread; nothing that other threads use is changed.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
    ):
        yield


@contextlib.contextmanager
def isolated_torch_state() -> Iterator[None]:
    """Run a block with torch's default settings, and restore those of the caller afterwards.

    Covered are the state of the random number generators, the default dtype, cuDNN's flags, and
    the modes in `default_modes`.
    """
    random_states = torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    dtype = torch.get_default_dtype()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.set_default_dtype(torch.float32)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        with default_modes():
            yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        torch.set_default_dtype(dtype)
        torch.set_rng_state(random_states)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a network computes in `precision`, ``fp32`` or ``bf16``.

    Casts of weights are not cached: each weight is used once in a forward pass, and inside an
    autocast context of the caller a cache would outlive the step that changes the weights.
    """
    enabled = precision == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


@contextlib.contextmanager
def report_out_of_memory(what: str, device: object, remedy: str) -> Iterator[None]:
    """Replace an out-of-memory error of torch by `OutOfMemoryError`.

    Args:
        what: needed the memory.
        device: that lacks it.
        remedy: what to try.

    Raises:
        OutOfMemoryError: instead of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in ("out of memory", "can't allocate memory")):
            raise
        raise OutOfMemoryError(f"{what}: not enough memory on {device}; try {remedy}") from None
