"""Comparison of a freshly compiled library with PyTorch, before it is used or cached."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fashioncnn.kernels.adam import adam_step
from fashioncnn.kernels.batch_norm import (
    BatchNormState,
    native_batch_norm_inference,
    native_batch_norm_pair,
    torch_batch_norm_inference,
    torch_batch_norm_pair,
)
from fashioncnn.kernels.convolution import KERNEL_SIZE, native_convolution, torch_conv_pool_relu
from fashioncnn.kernels.library import Kernels
from fashioncnn.kernels.pooling import native_pool_relu, torch_pool_relu
from fashioncnn.kernels.tensors import FLOAT32_CPU, to_channels_last

TOLERANCE = 1e-4
"""Largest relative difference in the Euclidean norm to PyTorch; rounding gives about 1e-6."""
BF16_TOLERANCE = 1e-2
"""The same for bfloat16 values; rounding gives about 2e-3."""
BF16_WINOGRAD_TOLERANCE = 3e-2
"""The same for convolutions in bfloat16, where transformed values are rounded: about 1e-2."""


def find_fault(kernels: Kernels) -> str | None:
    """Return in one line why the kernels cannot be used; None if they pass every comparison."""
    if not kernels.has_openmp():
        return "they were compiled without OpenMP, for one thread (GCC with OpenMP is needed)"
    # Whatever modes the caller has set.
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        errors = _float32_errors(kernels)
        bf16_errors = _features_errors(kernels, torch.bfloat16)
        winograd_errors = _bf16_convolution_errors(kernels) if kernels.bf16_convolutions else []
    # `e <= tolerance` is False for NaN.
    if (
        all(e <= TOLERANCE for e in errors)
        and all(e <= BF16_TOLERANCE for e in bf16_errors)
        and all(e <= BF16_WINOGRAD_TOLERANCE for e in winograd_errors)
    ):
        return None
    worst = max(
        errors + bf16_errors + winograd_errors, key=lambda e: math.inf if math.isnan(e) else e
    )
    return f"their results differ from PyTorch's (largest relative difference {worst:.1e})"


def _float32_errors(kernels: Kernels) -> list[float]:
    multiple = kernels.channel_multiple
    return [
        *_convolution_errors(kernels, 1, multiple, pooled=True),
        *_convolution_errors(kernels, multiple, multiple, pooled=True),
        *_convolution_errors(kernels, multiple, multiple, pooled=False),
        *_adam_errors(kernels),
        *_features_errors(kernels, torch.float32),
    ]


def _relative_errors(ours: Sequence[Tensor], expected: Sequence[Tensor]) -> list[float]:
    return [
        float((a.float() - b.float()).norm() / b.float().norm())
        for a, b in zip(ours, expected, strict=True)
    ]


def _convolution_errors(
    kernels: Kernels, in_channels: int, out_channels: int, *, pooled: bool
) -> list[float]:
    """Compare values and gradients on images whose sides need tiles of every kind."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, **FLOAT32_CPU)

    images = draw(3, in_channels, 11, 14).requires_grad_(in_channels > 1)
    weight = draw(out_channels, in_channels, KERNEL_SIZE, KERNEL_SIZE).requires_grad_()
    bias = draw(out_channels).requires_grad_() if pooled else None
    gradient = draw(3, out_channels, 5, 7) if pooled else draw(3, out_channels, 11, 14)
    inputs = [t for t in (images, weight, bias) if t is not None and t.requires_grad]
    ours = native_convolution(kernels, images, weight, bias, 1)
    # In float64, which also is correct where OpenMP grants fewer threads than PyTorch expects.
    if bias is None:
        expected = F.conv2d(images.double(), weight.double(), padding=1)
    else:
        expected = torch_conv_pool_relu(images.double(), weight.double(), bias.double(), 1)
    results = [
        [v.detach(), *torch.autograd.grad(v, inputs, gradient.to(v.dtype))]
        for v in (ours, expected)
    ]
    return _relative_errors(*results)


def _bf16_convolution_errors(kernels: Kernels) -> list[float]:
    """Compare values and gradients of a convolution in bfloat16 with PyTorch's in float64."""
    generator = torch.Generator().manual_seed(0)
    channels = kernels.channel_multiple
    images, weight, gradient = (
        torch.randn(size, generator=generator, **FLOAT32_CPU)
        for size in ((3, channels, 11, 14), (channels, channels, 3, 3), (3, channels, 11, 14))
    )
    images, weight = images.requires_grad_(), weight.requires_grad_()
    results = [
        [v.detach(), *torch.autograd.grad(v, [images, weight], gradient.to(v.dtype))]
        for v in (
            native_convolution(kernels, images, weight, None, 1, bf16=True),
            F.conv2d(images.double(), weight.double(), padding=1),
        )
    ]
    return _relative_errors(*results)


def _adam_errors(kernels: Kernels) -> list[float]:
    """Compare the weights after ten steps."""
    ours, expected = (torch.linspace(-1, 1, 99, **FLOAT32_CPU) for _ in range(2))
    mean, square = (torch.zeros(99, **FLOAT32_CPU) for _ in range(2))
    adam = torch.optim.Adam([expected], lr=0.1, foreach=False)
    for step in range(1, 11):
        expected.grad = expected**3
        adam_step(
            *(kernels, ours, ours**3, mean, square),
            step=step,
            learning_rate=0.1,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=0,
            decoupled=False,
        )
        adam.step()
    return _relative_errors([ours], [expected])


def _features_errors(kernels: Kernels, dtype: torch.dtype) -> list[float]:
    """Compare batch normalization and pooling of features in `dtype` with PyTorch in float32."""
    channels = 7 * kernels.vector_width  # groups of 4, 2 and 1 vectors
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:  # values that bfloat16 represents exactly
        drawn = torch.randn(size, generator=generator, **FLOAT32_CPU)
        return drawn.to(torch.bfloat16).float()

    features = [to_channels_last(draw(3, channels, 9, 7)) for _ in range(3)]
    pooled_gradient = to_channels_last(draw(3, channels, 4, 3))
    vectors = [draw(channels) for _ in range(2)]
    results = [
        _batch_norm_results(chosen, [t.to(kind) for t in features], vectors)
        + _pool_results(chosen, features[0].to(kind), vectors[0], pooled_gradient.to(kind))
        for chosen, kind in ((kernels, dtype), (None, torch.float32))
    ]
    return _relative_errors(*results)


def _batch_norm_results(
    kernels: Kernels | None, features: list[Tensor], vectors: list[Tensor]
) -> list[Tensor]:
    """Return outputs, running statistics and gradients, with and without residual and ReLU.

    Args:
        kernels: None for PyTorch's operations.
        features: values, residual and gradient, (n, channels, height, width) float each.
        vectors: weight and bias, (channels,) float32 each.
    """
    values, residual = (t.clone().requires_grad_() for t in features[:2])
    weight, bias = (t.clone().requires_grad_() for t in vectors)
    gradients = features[2], features[1]
    results = []
    for added, relu in ((None, False), (None, True), (residual, False), (residual, True)):
        state = BatchNormState(
            weight, bias, torch.zeros_like(weight).detach(), torch.ones_like(weight).detach()
        )
        with torch.no_grad():
            results.append(
                native_batch_norm_inference(kernels, values, added, state, 1e-5, relu)
                if kernels
                else torch_batch_norm_inference(values, added, state, 1e-5, relu)
            )
        pair = (
            native_batch_norm_pair(kernels, values, added, state, 0.1, 1e-5, relu)
            if kernels
            else torch_batch_norm_pair(values, added, state, 0.1, 1e-5, relu)
        )
        inputs = [values, weight, bias] + ([] if added is None else [added])
        for n in (1, 2):
            results += torch.autograd.grad(pair[:n], inputs, gradients[:n], retain_graph=True)
        results += [pair[0].detach(), *(t for t in state[2:] if t is not None)]
    return results


def _pool_results(
    kernels: Kernels | None, values: Tensor, bias: Tensor, gradient: Tensor
) -> list[Tensor]:
    """Return the output and the gradients of values and bias."""
    values, bias = values.clone().requires_grad_(), bias.clone().requires_grad_()
    pooled = native_pool_relu(kernels, values, bias) if kernels else torch_pool_relu(values, bias)
    return [pooled.detach(), *torch.autograd.grad(pooled, [values, bias], gradient)]
