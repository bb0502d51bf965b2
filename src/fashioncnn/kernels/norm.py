"""Batch normalisation, and pooling with ReLU: the functions of ``norm.c``, as functions of tensors.

Whatever memory bounds in a step is here done in as few passes as there can be, in float32 or, as
under autocast, in bfloat16 between float32 sums. Tensors are channels_last.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fashioncnn.kernels.build import Kernels, Norm, Planes
from fashioncnn.kernels.tensors import FLOATS, check_memory, is_plain, pointer

VALUES = torch.float32, torch.bfloat16
POOL = 2


def supports_batch_norm(
    kernels: Kernels, values: Tensor, residual: Tensor | None, *of_channels: Tensor | None
) -> bool:
    """Whether `normalize` can do this layer. What is wrong is left to PyTorch to tell.

    Args:
        kernels: compiled.
        values: what is normalised.
        residual: what is added.
        of_channels: weight, bias and running statistics, of which none may be missing.
    """
    supports = supports_fixed_norm(kernels, values, residual, *of_channels)
    return (
        supports and values.numel() > values.shape[1]
    )  # PyTorch refuses the variance of one value


def supports_fixed_norm(
    kernels: Kernels, values: Tensor, residual: Tensor | None, *of_channels: Tensor | None
) -> bool:
    """Whether `normalize_with` can do this layer; see `supports_batch_norm`."""
    return (
        _supports(kernels, values)
        and (
            residual is None
            or (
                is_plain(residual, values.dtype)
                and residual.shape == values.shape
                and residual.is_contiguous(memory_format=torch.channels_last)
            )
        )
        and all(t is not None and _is_vector(t, values.shape[1]) for t in of_channels)
    )


def supports_pool(kernels: Kernels, values: Tensor, bias: Tensor | None) -> bool:
    """Whether `native_pool_relu` can do this layer."""
    return (
        _supports(kernels, values)
        and min(values.shape[2:]) >= POOL
        and (bias is None or _is_vector(bias, values.shape[1]))
    )


def _is_vector(tensor: Tensor, channels: int) -> bool:
    return is_plain(tensor) and tensor.shape == (channels,) and tensor.is_contiguous()


def _supports(kernels: Kernels, values: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()
        and is_plain(values, *VALUES)
        and values.dim() == 4
        and values.numel() > 0
        and values.shape[1] % kernels.lanes() == 0
        and values.is_contiguous(memory_format=torch.channels_last)
    )


def normalize(
    kernels: Kernels,
    values: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_variance: Tensor,
    momentum: float,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor]:
    """Return what `fashioncnn.kernels.batch_norm_pair` does, by the compiled kernels."""
    running = running_mean, running_variance
    how = momentum, eps, relu, kernels, torch.is_grad_enabled()
    both: tuple[Tensor, Tensor] = _Normalization.apply(  # type: ignore[no-untyped-call]
        values, residual, weight, bias, *running, *how
    )
    return both


def normalize_with(
    kernels: Kernels,
    values: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    relu: bool,
) -> Tensor:
    """Return what `fashioncnn.kernels.fixed_norm` does, by the compiled kernels."""
    channels = values.shape[1]
    half = values.dtype == torch.bfloat16
    how = Norm(values.numel() // channels, channels, half, relu, 0.0, eps)
    normed = torch.empty_like(values)
    terms = torch.stack([mean, weight / (variance + eps).sqrt(), bias])
    kernels.normalize_with(
        pointer(values),
        pointer(residual),
        pointer(terms),
        pointer(normed),
        ctypes.byref(how),
        torch.get_num_threads(),
    )
    return normed


def native_pool_relu(kernels: Kernels, values: Tensor, bias: Tensor | None) -> Tensor:
    """Return ReLU of 2×2 max pooling and a bias, by the compiled kernels."""
    pooled: Tensor = _Pooling.apply(values, bias, kernels, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return pooled


class _Normalization(torch.autograd.Function):
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
        learns: bool,
    ) -> tuple[Tensor, Tensor]:
        channels = values.shape[1]
        half = values.dtype == torch.bfloat16
        how = Norm(values.numel() // channels, channels, half, relu, momentum, eps)
        normed = torch.empty_like(values)
        terms, deviations = torch.empty((3, channels), **FLOATS), torch.empty(channels, **FLOATS)
        check_memory(
            kernels.normalise_forward(
                pointer(values),
                pointer(residual),
                pointer(weight),
                pointer(bias),
                pointer(running_mean),
                pointer(running_variance),
                pointer(normed),
                pointer(terms),
                pointer(deviations),
                ctypes.byref(how),
                torch.get_num_threads(),
            )
        )
        if learns:
            ctx.added = residual is not None
            told = normed if relu and ctx.added else None  # where ReLU was shut
            ctx.save_for_backward(values, told, terms, deviations)
            ctx.how, ctx.kernels = how, kernels
            ctx.set_materialize_grads(False)
        return normed, normed.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *of_both: Tensor | None) -> tuple[Tensor | None, ...]:
        gradients = [
            g.contiguous(memory_format=torch.channels_last) for g in of_both if g is not None
        ]
        if not gradients:
            return (None,) * 11
        values, told, terms, deviations = ctx.saved_tensors
        # Hooks on saved tensors may have laid them out anew.
        values = values.contiguous(memory_format=torch.channels_last)
        if told is not None:
            told = told.contiguous(memory_format=torch.channels_last)
        of_values = torch.empty_like(values)
        of_weight, of_bias = (torch.empty(values.shape[1], **FLOATS) for _ in range(2))
        of_residual = None
        if ctx.added:  # as it came, where nothing is done to it
            changed = told is not None or len(gradients) > 1
            of_residual = torch.empty_like(values) if changed else gradients[0]
        check_memory(
            ctx.kernels.normalise_back(
                pointer(values),
                pointer(told),
                pointer(gradients[0]),
                pointer(gradients[1] if len(gradients) > 1 else None),
                pointer(terms),
                pointer(deviations),
                pointer(of_values),
                pointer(None if of_residual is gradients[0] else of_residual),
                pointer(of_weight),
                pointer(of_bias),
                ctypes.byref(ctx.how),
                torch.get_num_threads(),
            )
        )
        return of_values, of_residual, of_weight, of_bias, *[None] * 7


class _Pooling(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, bias: Tensor | None, kernels: Kernels, learns: bool
    ) -> Tensor:
        n, channels, height, width = values.shape
        sizes = Planes(n, height, width, channels, values.dtype == torch.bfloat16)
        pooled = torch.empty(
            (n, channels, height // POOL, width // POOL),
            dtype=values.dtype,
            device="cpu",
            memory_format=torch.channels_last,
        )
        places = torch.empty_like(pooled, dtype=torch.uint8) if learns else None
        kernels.pool_forward(
            pointer(values),
            pointer(bias),
            pointer(pooled),
            pointer(places),
            ctypes.byref(sizes),
            torch.get_num_threads(),
        )
        if learns:
            ctx.save_for_backward(places)
            ctx.sizes, ctx.kernels, ctx.shape = sizes, kernels, values.shape
            ctx.biased = bias is not None
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        places = ctx.saved_tensors[0].contiguous(memory_format=torch.channels_last)
        of_values = torch.empty(
            ctx.shape,
            dtype=gradient.dtype,
            device="cpu",
            memory_format=torch.channels_last,
        )
        of_bias = torch.empty(ctx.shape[1], **FLOATS) if ctx.biased else None
        check_memory(
            ctx.kernels.pool_back(
                pointer(gradient),
                pointer(places),
                pointer(of_values),
                pointer(of_bias),
                ctypes.byref(ctx.sizes),
                torch.get_num_threads(),
            )
        )
        return of_values, of_bias, None, None


def torch_batch_norm(
    values: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_variance: Tensor | None,
    momentum: float,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor]:
    """Return what `fashioncnn.kernels.batch_norm_pair` does, by PyTorch's operations."""
    running = running_mean, running_variance
    normed = F.batch_norm(values, *running, weight, bias, True, momentum, eps)
    normed = add_and_relu(normed, residual, relu)
    return normed, normed


def torch_fixed_norm(
    values: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    eps: float,
    relu: bool,
) -> Tensor:
    """Return what `fashioncnn.kernels.fixed_norm` does, by PyTorch's operations."""
    learns = mean is None  # a layer without running statistics takes those of its values
    normed = F.batch_norm(values, mean, variance, weight, bias, learns, 0.0, eps)
    return add_and_relu(normed, residual, relu)


def add_and_relu(normed: Tensor, residual: Tensor | None, relu: bool) -> Tensor:
    """Return `normed` itself, with what was asked for done to it in place."""
    if residual is not None:
        normed = normed.add_(residual)
    return F.relu(normed, inplace=True) if relu else normed


def torch_pool(values: Tensor, bias: Tensor | None) -> Tensor:
    """Return ReLU of 2×2 max pooling and a bias, by PyTorch's operations."""
    pooled = F.max_pool2d(values, POOL)
    return F.relu(pooled if bias is None else pooled + bias.to(values.dtype).view(-1, 1, 1))


def differences(kernels: Kernels, dtype: torch.dtype) -> list[float]:
    """Return the relative differences of freshly compiled kernels' answers to PyTorch's.

    PyTorch computes in float32, from values that bfloat16 holds.
    """
    generator = torch.Generator().manual_seed(0)
    channels = 7 * kernels.lanes()  # groups of every width

    def draw(*size: int) -> Tensor:
        drawn = torch.randn(size, generator=generator, dtype=torch.float32, device="cpu")
        return drawn.to(torch.bfloat16).float()

    def draw_images(height: int, width: int) -> Tensor:
        return draw(3, channels, height, width).contiguous(memory_format=torch.channels_last)

    values, added, gradient = draw_images(9, 7), draw_images(9, 7), draw_images(9, 7)
    of_pooled, weight, bias = draw_images(4, 3), draw(channels), draw(channels)
    answers = []
    for ours in (True, False):
        kind = dtype if ours else torch.float32
        x, r = (t.to(kind).requires_grad_() for t in (values, added))
        w, b = (t.clone().requires_grad_() for t in (weight, bias))
        gathered: list[Tensor] = []
        with torch.enable_grad():
            for residual, relu in ((None, False), (None, True), (r, False), (r, True)):
                running = torch.zeros(channels, **FLOATS), torch.ones(channels, **FLOATS)
                arguments = (x, residual, w, b, *running, 0.1, 1e-5, relu)
                both = normalize(kernels, *arguments) if ours else torch_batch_norm(*arguments)
                fixed = (x, residual, w, b, *running, 1e-5, relu)
                with torch.no_grad():
                    given = normalize_with(kernels, *fixed) if ours else torch_fixed_norm(*fixed)
                gathered.append(given)
                inputs = [t for t in (x, residual, w, b) if t is not None]
                gathered += [both[0].detach(), *running]
                for y in (both[:1], both):
                    of_outputs = [g.to(kind) for g in (gradient, added)[: len(y)]]
                    gathered += torch.autograd.grad(y, inputs, of_outputs, retain_graph=True)
            pooled = native_pool_relu(kernels, x, b) if ours else torch_pool(x, b)
        gathered += [pooled.detach(), *torch.autograd.grad(pooled, [x, b], of_pooled.to(kind))]
        answers.append([t.float() for t in gathered])
    return [float((a - b).norm() / b.norm()) for a, b in zip(*answers, strict=True)]
