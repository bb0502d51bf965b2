"""Access to the memory of tensors, for the compiled kernels."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from fashioncnn.errors import KernelError
from fashioncnn.kernels.library import Kernels

FLOAT32_CPU: Any = {"dtype": torch.float32, "device": "cpu"}
"""Options of tensors that kernels write to, whatever torch's defaults are."""
NOT_COMPILED = 2
"""Returned by convolutions in bfloat16 where `Kernels.bf16_convolutions` is false."""


def has_cpu_memory(tensor: Tensor, *dtypes: torch.dtype) -> bool:
    """Return whether a kernel can read the tensor's values directly from memory.

    Args:
        tensor: any tensor; subclasses and lazily negated views are rejected.
        dtypes: accepted types; float32 by default.
    """
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and not tensor.is_neg()
        and tensor.device.type == "cpu"
        and tensor.dtype in (dtypes or (torch.float32,))
        and tensor.layout == torch.strided
    )


def is_channel_vector(tensor: Tensor, channels: int) -> bool:
    """Return whether the tensor is a contiguous float32 (channels,) vector in CPU memory."""
    return has_cpu_memory(tensor) and tensor.shape == (channels,) and tensor.is_contiguous()


def is_channels_last(tensor: Tensor) -> bool:
    """Return whether the tensor's memory order is (n, height, width, channels)."""
    return tensor.is_contiguous(memory_format=torch.channels_last)


def to_channels_last(tensor: Tensor) -> Tensor:
    """Return the tensor in `torch.channels_last` layout, itself where it has that layout.

    Values of lazily negated views, which gradients may be, are negated in memory.
    """
    return tensor.resolve_neg().contiguous(memory_format=torch.channels_last)


def supports_features(kernels: Kernels, values: Tensor) -> bool:
    """Return whether pooling and batch normalization kernels accept the (n, c, h, w) features."""
    return (
        not torch.compiler.is_compiling()
        and has_cpu_memory(values, torch.float32, torch.bfloat16)
        and values.dim() == 4
        and values.numel() > 0
        and values.shape[1] % kernels.vector_width == 0
        and is_channels_last(values)
    )


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Return the address of a tensor's first value, null for None; keep the tensor alive."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def check_status(status: int) -> None:
    """Raise if a kernel returned that it did nothing.

    Raises:
        RuntimeError: it could not allocate its scratch memory; with "out of memory" in the message,
            as PyTorch's CPU allocator does.
        KernelError: it multiplies in bfloat16, for which this processor has no instructions.
    """
    if status == NOT_COMPILED:
        raise KernelError("this processor has no instructions for convolutions in bfloat16")
    if status != 0:
        raise RuntimeError("out of memory: a compiled kernel could not allocate scratch memory")
