"""Tensors as the compiled kernels see them: memory."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

FLOATS: Any = {"dtype": torch.float32, "device": "cpu"}


def is_plain(tensor: Tensor, *dtypes: torch.dtype) -> bool:
    """Whether the tensor's memory is what this process can read, as it is.

    Args:
        tensor: of any kind.
        dtypes: what it may consist of; float32 where none is named.
    """
    return (
        type(tensor) in (Tensor, torch.nn.Parameter)
        and not tensor.is_neg()
        and tensor.device.type == "cpu"
        and tensor.dtype in (dtypes or (torch.float32,))
        and tensor.layout == torch.strided
    )


def pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    """Return the address of a tensor's memory; the tensor must outlive its use."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def check_memory(returned: int) -> None:
    """Raise `RuntimeError`, as torch's own allocator does, where a kernel had too little."""
    if returned != 0:
        raise RuntimeError("out of memory: no scratch space for a kernel")
