"""What a step of training consists of, by PyTorch or by our compiled kernels.

The kernels do the same mathematics as PyTorch with other roundings. Those of ``kernels.c`` are
convolution, max pooling and ReLU as one step, and Adam. They never write the convolution's full
output to memory, and need up to 4 times fewer multiplications in every layer but the first. Those
of ``norm.c`` are batch normalisation, with the addition and the ReLU that follow it, and pooling,
each in as few passes as can be. What they gave is told in docs/PERFORMANCE.md.

They work on the CPU: convolutions and Adam in float32, the others in bfloat16 too. Inside a
bfloat16 autocast convolutions are PyTorch's. All have first derivatives in reverse mode alone: what
uses `torch.func`, traces or exports a network calls ``use("torch")`` before. Where a value is
infinite, Winograd's sums may give NaN where PyTorch gives infinity; where values of a window are
equal but for rounding, any one of them may be the largest.
"""

from __future__ import annotations

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from fashioncnn.errors import KernelError
from fashioncnn.kernels import convolution, norm
from fashioncnn.kernels.build import AdamStep, Kernels, library
from fashioncnn.kernels.tensors import FLOATS, is_plain, pointer

TOLERANCE = 1e-4
"""Largest difference to PyTorch's answers that a fresh library may show, relative to their size.
Rounding gives about 1e-6."""
HALF_TOLERANCE = 1e-2
"""The same where values are bfloat16. Rounding gives about 2e-3."""
ALONE = 2**16
"""Values that one thread is done with before others have begun."""

_active: Kernels | None = None


def why_not_native() -> str | None:
    """Return why the compiled kernels cannot be had here, or None where they can."""
    try:
        library(_fault)
    except KernelError as error:
        return str(error)
    return None


def use(name: str) -> None:
    """Have this process compute with the kernels called `name`: ``native`` or ``torch``.

    Raises:
        KernelError: the compiled kernels cannot be had here.
    """
    _activate(library(_fault) if name == "native" else None)


def in_use() -> str:
    """Return the name of the kernels that this process computes with."""
    return "torch" if _active is None else "native"


def _activate(kernels: Kernels | None) -> None:
    global _active  # noqa: PLW0603
    _active = kernels


def _fault(fresh: Kernels) -> str | None:
    """Return what is wrong with freshly compiled kernels, or None."""
    threads = torch.get_num_threads()
    if fresh.team(threads) != threads:
        return f"they run on {fresh.team(threads)} of {threads} threads (GCC with OpenMP is needed)"
    differences = convolution.differences(fresh, 1, fresh.multiple, pooled=True)
    for pooled in (True, False):
        differences += convolution.differences(fresh, fresh.multiple, fresh.multiple, pooled=pooled)
    differences.append(_adam_difference(fresh))
    differences += norm.differences(fresh, torch.float32)
    in_half = norm.differences(fresh, torch.bfloat16)
    # Not `any(d > TOLERANCE)`, which NaN would pass.
    exact = all(difference <= TOLERANCE for difference in differences)
    if exact and all(difference <= HALF_TOLERANCE for difference in in_half):
        return None
    differences += in_half
    return f"they answer otherwise than PyTorch (relative differences {differences})"


def _adam_difference(kernels: Kernels) -> float:
    """Return the relative difference of ten steps of Adam to PyTorch's."""
    ours, theirs = (torch.linspace(-1, 1, 99, **FLOATS) for _ in range(2))
    mean, square = (torch.zeros(99, **FLOATS) for _ in range(2))
    adam = torch.optim.Adam([theirs], lr=0.1, foreach=False)
    for step in range(1, 11):
        theirs.grad = theirs**3
        gradient = ours**3
        _adam(kernels, ours, gradient, mean, square, _how(step, 0.1, (0.9, 0.999), 1e-8, 0, False))
        adam.step()
    return float((ours - theirs).norm() / theirs.norm())


def conv_pool_relu(images: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Return ReLU of the 2×2 max-pooled convolution.

    The maximum of rectified values is the rectified maximum: pooling first is the same
    mathematics with a quarter of the values to rectify.

    Args:
        images: (n, in, height, width) float.
        weight: (out, in, k, k) float.
        bias: (out,) float, or None.
        padding: zeros around each image, in pixels.

    Returns:
        (n, out, (height + 2·padding - k + 1) // 2, likewise) float.
    """
    if _in_half() and _active is not None:
        return pool_relu(F.conv2d(images, weight, padding=padding), bias)
    if (
        _active is not None
        and bias is not None
        and convolution.supports(_active, images, weight, bias, padding)
    ):
        return convolution.native_convolution(_active, images, weight, bias, padding)
    return convolution.torch_convolution(images, weight, bias, padding)


def pool_relu(values: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ReLU of 2×2 max pooling and a bias, (n, channels, height // 2, width // 2).

    Args:
        values: (n, channels, height, width) float.
        bias: (channels,) float, added to what is kept.
    """
    if _active is not None and norm.supports_pool(_active, values, bias):
        return norm.native_pool_relu(_active, values, bias)
    return norm.torch_pool(values, bias)


def batch_norm(
    values: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_variance: Tensor | None,
    momentum: float,
    eps: float,
    relu: bool,
) -> Tensor:
    """Return `values` normalised by their own statistics, with what often follows in the same pass.

    Args:
        values: (n, channels, height, width) float.
        residual: of the same shape, added; or None.
        weight: (channels,) float, what normalised values are multiplied by.
        bias: (channels,) float, added to them.
        running_mean: (channels,) float, moved towards the mean of `values`; changed.
        running_variance: likewise, towards their unbiased variance; changed.
        momentum: share of the way that running statistics are moved.
        eps: added to the variance.
        relu: whether ReLU is the last thing done.

    Returns:
        float of the shape of `values`.
    """
    of_channels = weight, bias, running_mean, running_variance
    return batch_norm_pair(values, residual, *of_channels, momentum, eps, relu)[0]


def batch_norm_pair(
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
    """Return what `batch_norm` does two times, the same memory, for the two ways it may go.

    The gradients of both ways are added in the same pass as all the rest, where PyTorch takes one
    of its own for it. See `batch_norm` for the arguments. Neither may be changed in place.
    """
    of_channels = weight, bias, running_mean, running_variance
    arguments = (values, residual, *of_channels, momentum, eps, relu)
    if _active is not None and norm.supports_batch_norm(_active, values, residual, *of_channels):
        return norm.normalize(_active, *arguments)  # type: ignore[arg-type]
    return norm.torch_batch_norm(*arguments)


def fixed_norm(
    values: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    eps: float,
    relu: bool,
) -> Tensor:
    """Return `values` normalised by given statistics, as in evaluation.

    The compiled kernel has no gradient: where one may be asked for, PyTorch does it.

    Args:
        values: (n, channels, height, width) float.
        residual: of the same shape, added; or None.
        weight: (channels,) float, what normalised values are multiplied by.
        bias: (channels,) float, added to them.
        mean: (channels,) float.
        variance: (channels,) float.
        eps: added to the variance.
        relu: whether ReLU is the last thing done.

    Returns:
        float of the shape of `values`.
    """
    of_channels = weight, bias, mean, variance
    arguments = (values, residual, *of_channels, eps, relu)
    if (
        _active is not None
        and not torch.is_grad_enabled()
        and norm.supports_fixed_norm(_active, values, residual, *of_channels)
    ):
        return norm.normalize_with(_active, *arguments)  # type: ignore[arg-type]
    return norm.torch_fixed_norm(*arguments)


def _in_half() -> bool:
    """Whether convolutions are to be oneDNN's in bfloat16, as autocast has them.

    With the processor's own instructions for it they do in a fifth of the time what ours do.
    """
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def convolve(images: Tensor, weight: Tensor, padding: int) -> Tensor:
    """Return the convolution, without a bias and at every place (stride 1).

    Args:
        images: (n, in, height, width) float.
        weight: (out, in, k, k) float.
        padding: zeros around each image, in pixels.

    Returns:
        (n, out, height + 2·padding - k + 1, likewise) float.
    """
    if (
        _active is not None
        and not _in_half()
        and convolution.supports(_active, images, weight, None, padding)
    ):
        return convolution.native_convolution(_active, images, weight, None, padding)
    return F.conv2d(images, weight, padding=padding)


def supports_adam(weights: Tensor, *others: Tensor) -> bool:
    """Whether `adam_step` can be taken: all float32, and in memory in one and the same order."""
    dense = weights.is_contiguous() or (
        weights.dim() == 4 and weights.is_contiguous(memory_format=torch.channels_last)
    )
    return (
        _active is not None
        and dense
        and is_plain(weights)
        and all(
            is_plain(o) and o.shape == weights.shape and o.stride() == weights.stride()
            for o in others
        )
    )


def adam_step(
    weights: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    *,
    step: int,
    rate: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Take a step of Adam, or with `decoupled` of AdamW, in place.

    The same arithmetic as `torch.optim.Adam`, in one pass. Ask `supports_adam` before.

    Args:
        weights: float, of any shape; changed.
        gradient: like the weights.
        mean: of the gradients so far, decaying; like the weights, changed.
        square: of their squares; like the weights, changed.
        step: counted from 1.
        rate: the learning rate.
        betas: share of the mean, and of the squares, that a step keeps, in [0, 1).
        eps: added to the root of the squares.
        weight_decay: times the weights, added to the gradient; with `decoupled` times the
            learning rate, and taken off the weights themselves.
        decoupled: AdamW.

    Raises:
        KernelError: the compiled kernels are not in use.
    """
    if _active is None:
        raise KernelError("the compiled kernels are not in use: ask supports_adam before adam_step")
    how = _how(step, rate, betas, eps, weight_decay, decoupled)
    _adam(_active, weights, gradient, mean, square, how)


def _how(
    step: int,
    rate: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> AdamStep:
    beta1, beta2 = betas
    return AdamStep(
        size=rate / (1 - beta1**step),
        gain1=1 - beta1,
        gain2=1 - beta2,
        beta2=beta2,
        eps=eps,
        root=(1 - beta2**step) ** 0.5,
        decay=0 if decoupled else weight_decay,
        shrink=1 - rate * weight_decay if decoupled else 1,
    )


def _adam(
    kernels: Kernels,
    weights: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    how: AdamStep,
) -> None:
    pointers = (pointer(tensor) for tensor in (weights, gradient, mean, square))
    n = weights.numel()
    threads = 1 if n < ALONE else torch.get_num_threads()
    kernels.adam_step(*pointers, n, ctypes.byref(how), threads)
