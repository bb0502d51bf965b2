"""Convolution, pooled and rectified or as it is: ``kernels.c`` as functions of tensors."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fashioncnn.kernels.build import Kernels, Shape
from fashioncnn.kernels.tensors import FLOATS, check_memory, is_plain, pointer

KERNEL, POOL = 3, 2


def torch_convolution(images: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Return what `fashioncnn.kernels.conv_pool_relu` does, by PyTorch's operations."""
    return F.relu(F.max_pool2d(F.conv2d(images, weight, bias, padding=padding), POOL))


def native_convolution(
    kernels: Kernels, images: Tensor, weight: Tensor, bias: Tensor | None, padding: int
) -> Tensor:
    """Return the convolution by the compiled kernels; with a bias pooled and rectified."""
    learns = torch.is_grad_enabled()
    kept: Tensor = _Convolution.apply(images, weight, bias, padding, kernels, learns)  # type: ignore[no-untyped-call]
    return kept.permute(0, 3, 1, 2)


def supports(
    kernels: Kernels, images: Tensor, weight: Tensor, bias: Tensor | None, padding: int
) -> bool:
    """Whether the compiled kernels can do this layer. What is wrong is left to PyTorch to tell.

    With a bias it is pooled.
    """
    if torch.compiler.is_compiling() or not (is_plain(images) and is_plain(weight)):
        return False
    if images.dim() != 4 or weight.dim() != 4 or padding < 0:
        return False
    if not images.numel() or not weight.numel():
        return False
    out_channels, in_channels, *sides = weight.shape
    multiple, pooled = kernels.multiple, bias is not None
    one_channel = pooled and in_channels == 1 and not images.requires_grad
    return (
        images.shape[1] == in_channels
        and (bias is None or (is_plain(bias) and bias.shape == (out_channels,)))
        and sides == [KERNEL, KERNEL]
        and out_channels % multiple == 0
        and (in_channels % multiple == 0 or one_channel)
        and min(images.shape[2:]) + 2 * padding >= KERNEL + (POOL - 1 if pooled else 0)
    )


class _Convolution(torch.autograd.Function):
    """Pooled and rectified where there is a bias, else as it is; values in NHWC order."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        padding: int,
        kernels: Kernels,
        learns: bool,
    ) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        bias = None if bias is None else bias.contiguous()
        pooled = bias is not None
        n, in_channels, height, width = images.shape
        shape = Shape(n, height, width, in_channels, len(weight), padding, pooled)
        sides = [side + 2 * padding - KERNEL + 1 for side in (height, width)]
        rows, columns = (side // POOL for side in sides) if pooled else sides
        kept = torch.empty((n, rows, columns, len(weight)), **FLOATS)
        places = None
        if learns and pooled:
            places = torch.empty(kept.shape, dtype=torch.uint8, device="cpu")
        check_memory(
            kernels.convolve(
                pointer(images),
                pointer(weight),
                _strides(weight),
                pointer(bias),
                pointer(kept),
                pointer(places),
                ctypes.byref(shape),
                torch.get_num_threads(),
            )
        )
        if learns:
            ctx.save_for_backward(images, weight, places)
            ctx.shape, ctx.kernels = shape, kernels
        return kept

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, places = ctx.saved_tensors
        gradient = gradient.contiguous()
        # Hooks on saved tensors may have laid them out anew.
        images = images.contiguous(memory_format=torch.channels_last)
        places = None if places is None else places.contiguous()
        of_images = None
        if ctx.needs_input_grad[0]:
            of_images = torch.empty(images.shape, **FLOATS, memory_format=torch.channels_last)
        of_weight = torch.empty_like(weight)
        of_bias = torch.empty(len(weight), **FLOATS) if ctx.shape.pooled else None
        check_memory(
            ctx.kernels.convolve_back(
                pointer(images),
                pointer(weight),
                _strides(weight),
                pointer(gradient),
                pointer(places),
                pointer(of_images),
                pointer(of_weight),
                _strides(of_weight),
                pointer(of_bias),
                ctypes.byref(ctx.shape),
                torch.get_num_threads(),
            )
        )
        return of_images, of_weight, of_bias, None, None, None


def _strides(weight: Tensor) -> Any:
    return (ctypes.c_long * 4)(*weight.stride())


def differences(
    kernels: Kernels, in_channels: int, out_channels: int, *, pooled: bool
) -> list[float]:
    """Return the relative differences of values and of gradients to those of PyTorch."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float32, device="cpu")

    images = draw(3, in_channels, 11, 14).requires_grad_(in_channels > 1)  # tiles of every kind
    weight = draw(out_channels, in_channels, KERNEL, KERNEL).requires_grad_()
    bias = draw(out_channels).requires_grad_() if pooled else None
    gradient = draw(3, out_channels, 5, 7) if pooled else draw(3, out_channels, 11, 14)
    inputs = [t for t in (images, weight, bias) if t is not None and t.requires_grad]
    with torch.enable_grad():
        native = native_convolution(kernels, images, weight, bias, 1)
        theirs = F.conv2d(images, weight, padding=1)
        both = native, theirs if bias is None else torch_convolution(images, weight, bias, 1)
        answers = [[v.detach(), *torch.autograd.grad(v, inputs, gradient)] for v in both]
    return [float((a - b).norm() / b.norm()) for a, b in zip(*answers, strict=True)]
