"""3×3 convolution, alone or with 2×2 max pooling and ReLU, by kernels of ``convolution.c``."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fashioncnn.kernels.library import ConvShape, Kernels
from fashioncnn.kernels.pooling import POOL, pool_relu
from fashioncnn.kernels.tensors import (
    FLOAT32_CPU,
    check_status,
    has_cpu_memory,
    pointer,
    to_channels_last,
)

KERNEL_SIZE = 3
MIN_POSITIONS = 400
"""Positions of all images of a batch from which on the kernels convolve several channels without
gradients in fp32. Each call transforms the filters, which takes as long as about so many positions;
PyTorch's operation is up to 14 times as fast for fewer (docs/LOG.md)."""


def conv_pool_relu(
    kernels: Kernels | None,
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: int,
    bf16: bool = True,
) -> Tensor:
    """Return ReLU of the 2×2 max-pooled convolution.

    ReLU and the maximum commute, so pooling first gives the same values and leaves a quarter of
    them to rectify.

    Args:
        kernels: compiled kernels; None for PyTorch's operations.
        images: (n, in, height, width) float.
        weight: (out, in, k, k) float.
        bias: (out,) float.
        padding: zeros around each image, in pixels.
        bf16: whether the compiled convolution may be used inside a bfloat16 autocast.

    Returns:
        (n, out, (height + 2·padding - k + 1) // 2, (width + 2·padding - k + 1) // 2) float.
    """
    if kernels is None:
        return torch_conv_pool_relu(images, weight, bias, padding)
    in_bf16 = _autocasts_to_bf16()
    if bias is not None and _is_native(kernels, images, weight, bias, padding, bf16):
        return native_convolution(kernels, images, weight, bias, padding, in_bf16)
    if in_bf16:
        return pool_relu(kernels, F.conv2d(images, weight, padding=padding), bias)
    return torch_conv_pool_relu(images, weight, bias, padding)


def conv2d(
    kernels: Kernels | None, images: Tensor, weight: Tensor, padding: int, bf16: bool = True
) -> Tensor:
    """Return the convolution with stride 1 and without bias.

    Args:
        kernels: compiled kernels; None for PyTorch's operations.
        images: (n, in, height, width) float.
        weight: (out, in, k, k) float.
        padding: zeros around each image, in pixels.
        bf16: whether the compiled convolution may be used inside a bfloat16 autocast.

    Returns:
        (n, out, height + 2·padding - k + 1, width + 2·padding - k + 1) float.
    """
    if kernels is not None and _is_native(kernels, images, weight, None, padding, bf16):
        return native_convolution(kernels, images, weight, None, padding, _autocasts_to_bf16())
    return F.conv2d(images, weight, padding=padding)


def torch_conv_pool_relu(
    images: Tensor, weight: Tensor, bias: Tensor | None, padding: int
) -> Tensor:
    """Return `conv_pool_relu` computed by PyTorch's operations."""
    return F.relu(F.max_pool2d(F.conv2d(images, weight, bias, padding=padding), POOL))


def native_convolution(
    kernels: Kernels,
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: int,
    bf16: bool = False,
) -> Tensor:
    """Return the convolution computed by the kernels; with a bias, pooled and rectified.

    Args:
        kernels: compiled kernels.
        images: (n, in, height, width) float32, or with `bf16` float32 or bfloat16.
        weight: (out, in, 3, 3) float32.
        bias: (out,) float32.
        padding: zeros around each image, in pixels.
        bf16: whether to multiply in bfloat16. Images of several channels are rounded first, and
            the output is bfloat16; sums and gradients of weight and bias are float32.
    """
    save = torch.is_grad_enabled()
    if bf16:
        images = images.float() if images.shape[1] == 1 else images.bfloat16()
    options = padding, bf16, kernels, save
    output: Tensor = _Convolution.apply(images, weight, bias, *options)  # type: ignore[no-untyped-call]
    return output.permute(0, 3, 1, 2)


def supports_convolution(
    kernels: Kernels,
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: int,
    bf16: bool = False,
) -> bool:
    """Return whether `native_convolution` accepts the arguments.

    Invalid arguments are not supported either; PyTorch's operation then raises the error.
    """
    dtypes = (torch.float32, torch.bfloat16) if bf16 else (torch.float32,)
    if torch.compiler.is_compiling() or not has_cpu_memory(images, *dtypes):
        return False
    if not has_cpu_memory(weight):
        return False
    if images.dim() != 4 or weight.dim() != 4 or padding < 0:
        return False
    if not images.numel() or not weight.numel():
        return False
    out_channels, in_channels, *sides = weight.shape
    multiple, pooled = kernels.channel_multiple, bias is not None
    direct = pooled and in_channels == 1 and not images.requires_grad
    return (
        images.shape[1] == in_channels
        and (bias is None or (has_cpu_memory(bias) and bias.shape == (out_channels,)))
        and sides == [KERNEL_SIZE, KERNEL_SIZE]
        and out_channels % multiple == 0
        and (in_channels % multiple == 0 or direct)
        and min(images.shape[2:]) + 2 * padding >= KERNEL_SIZE + (POOL - 1 if pooled else 0)
    )


def _is_native(
    kernels: Kernels,
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: int,
    bf16: bool,
) -> bool:
    """Return whether to use `native_convolution` in the present autocast mode."""
    in_bf16 = _autocasts_to_bf16()
    if not in_bf16 and _is_small(images):
        return False
    return ((kernels.bf16_convolutions and bf16) or not in_bf16) and supports_convolution(
        kernels, images, weight, bias, padding, in_bf16
    )


def _is_small(images: Tensor) -> bool:
    """Return whether so few images are convolved without gradients that PyTorch is faster."""
    if torch.is_grad_enabled() or images.dim() != 4 or images.shape[1] == 1:
        return False
    n, _, height, width = images.shape
    return n * height * width < MIN_POSITIONS


def _autocasts_to_bf16() -> bool:
    """Return whether autocast runs convolutions in bfloat16."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


class _Convolution(torch.autograd.Function):
    """The convolution, with pooling and ReLU if there is a bias; outputs are NHWC."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        padding: int,
        bf16: bool,
        kernels: Kernels,
        save: bool,
    ) -> Tensor:
        images = to_channels_last(images)
        bias = None if bias is None else bias.contiguous()
        pooled = bias is not None
        n, in_channels, height, width = images.shape
        shape = ConvShape(n, height, width, in_channels, len(weight), padding, pooled, bf16)
        sides = [side + 2 * padding - KERNEL_SIZE + 1 for side in (height, width)]
        rows, columns = (side // POOL for side in sides) if pooled else sides
        dtype = torch.bfloat16 if bf16 else torch.float32
        output = torch.empty((n, rows, columns, len(weight)), dtype=dtype, device="cpu")
        argmax = None
        if save and pooled:
            argmax = torch.empty(output.shape, dtype=torch.uint8, device="cpu")
        check_status(
            kernels.conv_forward(
                pointer(images),
                pointer(weight),
                _strides(weight),
                pointer(bias),
                pointer(output),
                pointer(argmax),
                ctypes.byref(shape),
                torch.get_num_threads(),
            )
        )
        if save:
            ctx.save_for_backward(images, weight, argmax)
            ctx.shape, ctx.kernels = shape, kernels
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, argmax = ctx.saved_tensors
        gradient = gradient.resolve_neg().contiguous()
        # Hooks on saved tensors may have changed their layout.
        images = to_channels_last(images)
        argmax = None if argmax is None else argmax.contiguous()
        images_grad = torch.empty_like(images) if ctx.needs_input_grad[0] else None
        weight_grad = torch.empty_like(weight)
        bias_grad = torch.empty(len(weight), **FLOAT32_CPU) if ctx.shape.pooled else None
        check_status(
            ctx.kernels.conv_backward(
                pointer(images),
                pointer(weight),
                _strides(weight),
                pointer(gradient),
                pointer(argmax),
                pointer(images_grad),
                pointer(weight_grad),
                _strides(weight_grad),
                pointer(bias_grad),
                ctypes.byref(ctx.shape),
                torch.get_num_threads(),
            )
        )
        return images_grad, weight_grad, bias_grad, None, None, None, None


def _strides(weight: Tensor) -> Any:
    return (ctypes.c_long * 4)(*weight.stride())
