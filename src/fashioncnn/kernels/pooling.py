"""2×2 max pooling with an optional bias and ReLU, by kernels of ``pooling.c``."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fashioncnn.kernels.library import Kernels, PoolShape
from fashioncnn.kernels.tensors import (
    FLOAT32_CPU,
    check_status,
    is_channel_vector,
    pointer,
    supports_features,
    to_channels_last,
)

POOL = 2


def pool_relu(kernels: Kernels | None, values: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ReLU(max_pool2d(values, 2) + bias), (n, channels, height // 2, width // 2).

    Args:
        kernels: compiled kernels; None for PyTorch's operations.
        values: (n, channels, height, width) float.
        bias: (channels,) float.
    """
    if kernels is not None and _supports_pool(kernels, values, bias):
        return native_pool_relu(kernels, values, bias)
    return torch_pool_relu(values, bias)


def torch_pool_relu(values: Tensor, bias: Tensor | None) -> Tensor:
    """Return `pool_relu` computed by PyTorch's operations."""
    pooled = F.max_pool2d(values, POOL)
    return F.relu(pooled if bias is None else pooled + bias.to(values.dtype).view(-1, 1, 1))


def native_pool_relu(kernels: Kernels, values: Tensor, bias: Tensor | None) -> Tensor:
    """Return `pool_relu` computed by the kernels."""
    save = torch.is_grad_enabled()
    pooled: Tensor = _PoolReLU.apply(values, bias, kernels, save)  # type: ignore[no-untyped-call]
    return pooled


def _supports_pool(kernels: Kernels, values: Tensor, bias: Tensor | None) -> bool:
    return (
        supports_features(kernels, values)
        and min(values.shape[2:]) >= POOL
        and (bias is None or is_channel_vector(bias, values.shape[1]))
    )


class _PoolReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, bias: Tensor | None, kernels: Kernels, save: bool
    ) -> Tensor:
        n, channels, height, width = values.shape
        shape = PoolShape(n, height, width, channels, values.dtype == torch.bfloat16)
        pooled = torch.empty(
            (n, channels, height // POOL, width // POOL),
            dtype=values.dtype,
            device="cpu",
            memory_format=torch.channels_last,
        )
        argmax = torch.empty_like(pooled, dtype=torch.uint8) if save else None
        kernels.pool_relu_forward(
            pointer(values),
            pointer(bias),
            pointer(pooled),
            pointer(argmax),
            ctypes.byref(shape),
            torch.get_num_threads(),
        )
        if save:
            ctx.save_for_backward(argmax)
            ctx.shape, ctx.kernels, ctx.input_shape = shape, kernels, values.shape
            ctx.has_bias = bias is not None
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = to_channels_last(gradient)
        argmax = to_channels_last(ctx.saved_tensors[0])
        values_grad = torch.empty(
            ctx.input_shape,
            dtype=gradient.dtype,
            device="cpu",
            memory_format=torch.channels_last,
        )
        bias_grad = torch.empty(ctx.shape.channels, **FLOAT32_CPU) if ctx.has_bias else None
        check_status(
            ctx.kernels.pool_relu_backward(
                pointer(gradient),
                pointer(argmax),
                pointer(values_grad),
                pointer(bias_grad),
                ctypes.byref(ctx.shape),
                torch.get_num_threads(),
            )
        )
        return values_grad, bias_grad, None, None
