"""Checks of a custom network before a training with it starts."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fashioncnn.devices import autocast, isolated_torch_state
from fashioncnn.errors import UsageError
from fashioncnn.models.custom import CustomNetwork, report_failure

STORABLE = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)
"""Types of tensors that a model folder can contain."""
CPU = torch.device("cpu")


def check_network(
    network: CustomNetwork,
    image_size: int,
    classes: int,
    *,
    in_channels: int = 1,
    batch_sizes: Collection[int] = (2,),
    precision: str = "fp32",
) -> nn.Module:
    """Return a network that was tried out on random images, in evaluation and in training.

    Args:
        network: to try.
        image_size: side of the input images, in pixels.
        classes: number of logits that it should return.
        in_channels: of the input images, 1 or 3.
        batch_sizes: numbers of images to compute the gradients for.
        precision: ``fp32`` or ``bf16``.

    Raises:
        UsageError: it cannot be created, computed, trained, copied or saved.
    """
    with isolated_torch_state():
        torch.manual_seed(0)
        module = network.build(image_size, classes, in_channels)
        _check_state(network.name, module)
        images = torch.rand(max(2, *batch_sizes), in_channels, image_size, image_size)
        for count in (2, 1):
            module.eval()
            with torch.inference_mode(), autocast(CPU, precision):
                _logits(network.name, module, images[:count], classes)
        with report_failure(network.name, "cannot be copied, which an average of weights needs"):
            tried = copy.deepcopy(module)
        tried.train()
        for count in sorted(batch_sizes, reverse=True):
            with autocast(CPU, precision):
                logits = _logits(network.name, tried, images[:count], classes)
            _check_gradients(network.name, tried, logits)
    return module


def _logits(name: str, module: nn.Module, images: Tensor, classes: int) -> Tensor:
    """Return the logits for images; raise `UsageError` if they are not what they should be."""
    n, given = len(images), f"images of shape {tuple(images.shape)}"
    mode = " in training" if module.training else ""
    last = ", as in the last batch; use another batch size" if module.training and n == 1 else ""
    with report_failure(name, f"fails on {given}{mode}{last}"):
        logits = module(images)
    if not isinstance(logits, Tensor):
        raise UsageError(
            f"network {name}: returns an object of type {type(logits).__name__}{mode}; should "
            f"return logits, a tensor of shape (n, {classes})"
        )
    if logits.shape != (n, classes):
        raise UsageError(
            f"network {name}: returns shape {tuple(logits.shape)} for {given}{mode}; should be "
            f"({n}, {classes}), one logit per class"
        )
    if not logits.is_floating_point():
        raise UsageError(f"network {name}: returns {logits.dtype}; should return float logits")
    if not bool(logits.isfinite().all()):
        raise UsageError(f"network {name}: returns values that are not finite for random images")
    sums = logits.detach().float().sum(1)
    if bool((logits >= 0).all()) and torch.allclose(sums, torch.ones(n), atol=1e-3):
        raise UsageError(
            f"network {name}: returns probabilities, which sum to 1; return logits, without softmax"
        )
    return logits


def _check_gradients(name: str, module: nn.Module, logits: Tensor) -> None:
    loss = F.cross_entropy(logits.float(), torch.zeros(len(logits), dtype=torch.int64))
    if not loss.requires_grad:
        raise UsageError(f"network {name}: its logits do not depend on a trainable parameter")
    with report_failure(name, "fails in the backward pass"):
        loss.backward()  # type: ignore[no-untyped-call]
    if not all(p.grad is None or bool(p.grad.isfinite().all()) for p in module.parameters()):
        raise UsageError(f"network {name}: has gradients that are not finite for random images")


def _check_state(name: str, module: nn.Module) -> None:
    """Reject a network whose state cannot be saved without pickle."""
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise UsageError(f"network {name}: has no trainable parameter")
    for key, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            problem = f"is of type {type(value).__name__}; only tensors can be saved"
        elif value.dtype not in STORABLE:
            problem = f"has type {value.dtype}, which is not saved"
        elif not bool(value.isfinite().all()):
            problem = "has values that are not finite; use register_buffer(…, persistent=False)"
        else:
            continue
        raise UsageError(f"network {name}: {key} in its state dict {problem}")
