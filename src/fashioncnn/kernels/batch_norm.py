"""Batch normalization with residual addition and ReLU, by kernels of ``batch_norm.c``.

Features are channels_last, in float32 or, under autocast, in bfloat16 with float32 sums.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fashioncnn.kernels.library import BatchNormOptions, Kernels
from fashioncnn.kernels.tensors import (
    FLOAT32_CPU,
    check_status,
    has_cpu_memory,
    is_channel_vector,
    is_channels_last,
    pointer,
    supports_features,
    to_channels_last,
)


class BatchNormState(NamedTuple):
    """The (channels,) float32 tensors of a batch normalization layer; None for those it lacks."""

    weight: Tensor | None
    """Scale of the normalized values."""
    bias: Tensor | None
    """Added to them."""
    mean: Tensor | None
    """In training the running mean, moved towards the batch's in place."""
    variance: Tensor | None
    """In training the running variance, moved towards the batch's (unbiased) in place."""


def batch_norm_pair(
    kernels: Kernels | None,
    values: Tensor,
    residual: Tensor | None,
    state: BatchNormState,
    momentum: float,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor]:
    """Return ReLU?(normalized values + residual) by the batch's statistics, as in training, twice.

    The two tensors share their memory. Use them where the output feeds two branches, such as a
    convolution and a shortcut: if each branch takes its own, autograd passes both gradients to one
    backward call, and the kernel adds them while it reads them. With a single output, PyTorch would
    add them in a pass of its own. Neither may be modified in place.

    Args:
        kernels: compiled kernels; None for PyTorch's operations.
        values: (n, channels, height, width) float.
        residual: float of the same shape, added to the normalized values.
        state: the layer's tensors; running statistics are updated.
        momentum: weight of the batch in the running statistics, in [0, 1].
        eps: added to the variance.
        relu: whether to apply ReLU last.

    Returns:
        two float tensors of the shape of `values`.
    """
    if kernels is not None and _supports_training(kernels, values, residual, state):
        return native_batch_norm_pair(kernels, values, residual, state, momentum, eps, relu)
    return torch_batch_norm_pair(values, residual, state, momentum, eps, relu)


def batch_norm_inference(
    kernels: Kernels | None,
    values: Tensor,
    residual: Tensor | None,
    state: BatchNormState,
    eps: float,
    relu: bool,
) -> Tensor:
    """Return ReLU?(normalized values + residual) by the layer's statistics, as in evaluation.

    The kernel has no backward pass: PyTorch computes the values wherever gradients are enabled.

    Args:
        kernels: compiled kernels; None for PyTorch's operations.
        values: (n, channels, height, width) float.
        residual: float of the same shape, added to the normalized values.
        state: the layer's tensors; without a mean, the statistics of `values` are used.
        eps: added to the variance.
        relu: whether to apply ReLU last.

    Returns:
        float of the shape of `values`.
    """
    if (
        kernels is not None
        and not torch.is_grad_enabled()
        and _supports_inference(kernels, values, residual, state)
    ):
        return native_batch_norm_inference(kernels, values, residual, state, eps, relu)
    return torch_batch_norm_inference(values, residual, state, eps, relu)


def torch_batch_norm_pair(
    values: Tensor,
    residual: Tensor | None,
    state: BatchNormState,
    momentum: float,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor]:
    """Return `batch_norm_pair` computed by PyTorch's operations: the same tensor twice."""
    weight, bias, mean, variance = state
    normalized = F.batch_norm(values, mean, variance, weight, bias, True, momentum, eps)
    output = add_residual_relu_(normalized, residual, relu)
    return output, output


def torch_batch_norm_inference(
    values: Tensor, residual: Tensor | None, state: BatchNormState, eps: float, relu: bool
) -> Tensor:
    """Return `batch_norm_inference` computed by PyTorch's operations."""
    weight, bias, mean, variance = state
    normalized = F.batch_norm(values, mean, variance, weight, bias, mean is None, 0.0, eps)
    return add_residual_relu_(normalized, residual, relu)


def add_residual_relu_(values: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    """Add the residual, if any, and apply ReLU, if asked for, in place; return `values`."""
    if residual is not None:
        values = values.add_(residual)
    return F.relu(values, inplace=True) if relu else values


def native_batch_norm_pair(
    kernels: Kernels,
    values: Tensor,
    residual: Tensor | None,
    state: BatchNormState,
    momentum: float,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor]:
    """Return `batch_norm_pair` computed by the kernels; `state` must be complete."""
    options = momentum, eps, relu, kernels, torch.is_grad_enabled()
    pair: tuple[Tensor, Tensor] = _BatchNorm.apply(values, residual, *state, *options)  # type: ignore[no-untyped-call]
    return pair


def native_batch_norm_inference(
    kernels: Kernels,
    values: Tensor,
    residual: Tensor | None,
    state: BatchNormState,
    eps: float,
    relu: bool,
) -> Tensor:
    """Return `batch_norm_inference` computed by the kernels; `state` must be complete."""
    weight, bias, mean, variance = (cast("Tensor", tensor) for tensor in state)
    options = _options(values, relu, 0.0, eps)
    output = torch.empty_like(values)
    coefficients = torch.stack([mean, weight / (variance + eps).sqrt(), bias])
    kernels.batch_norm_inference(
        pointer(values),
        pointer(residual),
        pointer(coefficients),
        pointer(output),
        ctypes.byref(options),
        torch.get_num_threads(),
    )
    return output


def _options(values: Tensor, relu: bool, momentum: float, eps: float) -> BatchNormOptions:
    channels, bf16 = values.shape[1], values.dtype == torch.bfloat16
    return BatchNormOptions(values.numel() // channels, channels, bf16, relu, momentum, eps)


def _supports_training(
    kernels: Kernels, values: Tensor, residual: Tensor | None, state: BatchNormState
) -> bool:
    supported = _supports_inference(kernels, values, residual, state)
    # One value per channel has no variance: PyTorch's operation raises the error.
    return supported and values.numel() > values.shape[1]


def _supports_inference(
    kernels: Kernels, values: Tensor, residual: Tensor | None, state: BatchNormState
) -> bool:
    return (
        supports_features(kernels, values)
        and (
            residual is None
            or (
                has_cpu_memory(residual, values.dtype)
                and residual.shape == values.shape
                and is_channels_last(residual)
            )
        )
        and all(t is not None and is_channel_vector(t, values.shape[1]) for t in state)
    )


class _BatchNorm(torch.autograd.Function):
    """`batch_norm_pair`: one output returned twice, whose gradients the backward pass adds."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        residual: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_variance: Tensor,
        momentum: float,
        eps: float,
        relu: bool,
        kernels: Kernels,
        save: bool,
    ) -> tuple[Tensor, Tensor]:
        options = _options(values, relu, momentum, eps)
        output = torch.empty_like(values)
        coefficients = torch.empty((3, options.channels), **FLOAT32_CPU)
        std = torch.empty(options.channels, **FLOAT32_CPU)
        check_status(
            kernels.batch_norm_forward(
                pointer(values),
                pointer(residual),
                pointer(weight),
                pointer(bias),
                pointer(running_mean),
                pointer(running_variance),
                pointer(output),
                pointer(coefficients),
                pointer(std),
                ctypes.byref(options),
                torch.get_num_threads(),
            )
        )
        if save:
            ctx.has_residual = residual is not None
            relu_mask = output if relu and ctx.has_residual else None  # its signs
            ctx.save_for_backward(values, relu_mask, coefficients, std)
            ctx.options, ctx.kernels = options, kernels
            ctx.set_materialize_grads(False)
        return output, output.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *output_grads: Tensor | None) -> tuple[Tensor | None, ...]:
        gradients = [to_channels_last(g) for g in output_grads if g is not None]
        if not gradients:
            return (None,) * 11
        values, relu_mask, coefficients, std = ctx.saved_tensors
        # Hooks on saved tensors may have changed their layout.
        values = to_channels_last(values)
        relu_mask = None if relu_mask is None else to_channels_last(relu_mask)
        values_grad = torch.empty_like(values)
        weight_grad, bias_grad = (torch.empty_like(std) for _ in range(2))
        # Without ReLU the residual's gradient is the output's.
        copies = relu_mask is not None or len(gradients) > 1
        own_residual_grad = torch.empty_like(values) if ctx.has_residual and copies else None
        check_status(
            ctx.kernels.batch_norm_backward(
                pointer(values),
                pointer(relu_mask),
                pointer(gradients[0]),
                pointer(gradients[1] if len(gradients) > 1 else None),
                pointer(coefficients),
                pointer(std),
                pointer(values_grad),
                pointer(own_residual_grad),
                pointer(weight_grad),
                pointer(bias_grad),
                ctypes.byref(ctx.options),
                torch.get_num_threads(),
            )
        )
        residual_grad = None
        if ctx.has_residual:
            residual_grad = gradients[0] if own_residual_grad is None else own_residual_grad
        return values_grad, residual_grad, weight_grad, bias_grad, *[None] * 7
