"""Adam and AdamW in one pass over the weights, by the kernel of ``adam.c``."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from fashioncnn.kernels.library import AdamStep, Kernels
from fashioncnn.kernels.tensors import has_cpu_memory, is_channels_last, pointer

SINGLE_THREAD_VALUES = 2**16
"""Below this size one thread is faster than starting the others."""


def supports_adam(weights: Tensor, *others: Tensor) -> bool:
    """Return whether `adam_step` accepts the tensors: dense float32 of one shape and memory order.

    Args:
        weights: the parameter.
        others: its gradient and moments.
    """
    dense = weights.is_contiguous() or (weights.dim() == 4 and is_channels_last(weights))
    return (
        dense
        and has_cpu_memory(weights)
        and all(has_cpu_memory(o) and _have_one_order(weights, o) for o in others)
    )


def _have_one_order(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors have one shape and memory order; axes of one value have none."""
    if first.shape != second.shape:
        return False
    strides = zip(first.shape, first.stride(), second.stride(), strict=True)
    return all(a == b for size, a, b in strides if size > 1)


def adam_step(
    kernels: Kernels,
    weights: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    *,
    step: int,
    learning_rate: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Take one step of Adam, or with `decoupled` of AdamW, in place.

    The arithmetic of `torch.optim.Adam`. The tensors must pass `supports_adam`.

    Args:
        kernels: compiled kernels.
        weights: float32 of any shape; updated.
        gradient: like the weights.
        mean: moving average of the gradients, like the weights; updated.
        square: moving average of their squares, like the weights; updated.
        step: number of this step, from 1.
        learning_rate: at this step.
        betas: decay of the two moving averages, in [0, 1).
        eps: added to the root of the squares.
        weight_decay: times the weights, added to the gradient; with `decoupled`, times the weights
            and the learning rate, subtracted from the weights.
        decoupled: AdamW.
    """
    beta1, beta2 = betas
    options = AdamStep(
        step_size=learning_rate / (1 - beta1**step),
        one_minus_beta1=1 - beta1,
        one_minus_beta2=1 - beta2,
        beta2=beta2,
        eps=eps,
        root_bias_correction2=(1 - beta2**step) ** 0.5,
        l2=0 if decoupled else weight_decay,
        shrink=1 - learning_rate * weight_decay if decoupled else 1,
    )
    n = weights.numel()
    kernels.adam_step(
        *(pointer(tensor) for tensor in (weights, gradient, mean, square)),
        n,
        ctypes.byref(options),
        1 if n < SINGLE_THREAD_VALUES else torch.get_num_threads(),
    )
