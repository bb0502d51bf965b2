"""Optimizers, and learning rates as pure functions of the step."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fashioncnn.devices import one_thread
from fashioncnn.kernels import Kernels, adam_step, supports_adam
from fashioncnn.models import compiled_kernels
from fashioncnn.models.transfer import split_parameters
from fashioncnn.settings import AdamConfig, ConstantSchedule, DecaySchedule, MuonConfig, SGDConfig

FEW_THREADS = 2
"""Up to this number, Muon's products run on one thread: most take 20 to 70 µs, and the threads wait
for each other, for a long time beside other programs (docs/LOG.md)."""


def build_optimizer(
    config: AdamConfig | SGDConfig | MuonConfig, network: nn.Module
) -> torch.optim.Optimizer:
    """Return the optimizer of a network's parameters, in its fused form.

    A parameter group whose learning rate differs from the schedule's has a factor ``scale``. On
    CUDA a CUDA graph can capture `step`; for this, make each group's ``lr`` a 0-dim tensor on the
    device, whose present value the graph reads.

    Args:
        config: the section ``[optimizer]`` of the settings.
        network: on its device; Adam uses its kernels (`fashioncnn.models.set_kernels`).
    """
    if isinstance(config, MuonConfig):
        return Muon(config, network)
    if isinstance(config, SGDConfig):
        return torch.optim.SGD(
            parameter_groups(network, config.backbone_lr_factor),
            lr=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
            fused=True,
        )
    return Adam(
        parameter_groups(network, config.backbone_lr_factor),
        compiled_kernels(network),
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        decoupled_weight_decay=config.name == "adamw",
        fused=True,
        capturable=_is_on_cuda(network),
    )


def parameter_groups(network: nn.Module, backbone_lr_factor: float) -> list[dict[str, Any]]:
    """Return the trainable parameters in groups, with their factor of the learning rate."""
    if backbone_lr_factor == 1:
        return [{"params": [p for p in network.parameters() if p.requires_grad]}]
    backbone, head = split_parameters(network)
    groups = [{"params": backbone, "scale": backbone_lr_factor}, {"params": head, "scale": 1.0}]
    return [group for group in groups if group["params"]]


def _is_on_cuda(network: nn.Module) -> bool:
    return all(parameter.is_cuda for parameter in network.parameters())


class Adam(torch.optim.Adam):
    """`torch.optim.Adam` that steps by a compiled kernel if it has one.

    Args:
        params: parameters or groups of them.
        kernels: None for PyTorch's.
        options: of `torch.optim.Adam`.
    """

    # PyTorch's wrappers of these methods import torch._dynamo, which takes one to two seconds, only
    # to keep them out of torch.compile.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)

    def __init__(
        self, params: Iterable[Any], kernels: Kernels | None = None, **options: Any
    ) -> None:
        super().__init__(params, **options)
        self.kernels = kernels

    def __getstate__(self) -> dict[str, Any]:
        # PyTorch's copies and pickles only its own attributes.
        return {**super().__getstate__(), "kernels": self.kernels}

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        if self.kernels is None or not self._step_by_kernel(self.kernels):
            super().step()

    def _step_by_kernel(self, kernels: Kernels) -> bool:
        """Update the parameters that have a gradient; return False if the kernel cannot."""
        if any(group["amsgrad"] or group["maximize"] for group in self.param_groups):
            return False
        updates = [
            (parameter, self._state_of(parameter), group)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if not all(
            supports_adam(parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"])
            for parameter, state, _ in updates
        ):
            return False
        for parameter, state, group in updates:
            state["step"] += 1
            adam_step(
                kernels,
                parameter,
                parameter.grad,
                state["exp_avg"],
                state["exp_avg_sq"],
                step=int(state["step"]),
                learning_rate=float(group["lr"]),
                betas=group["betas"],
                eps=group["eps"],
                weight_decay=group["weight_decay"],
                decoupled=group["decoupled_weight_decay"],
            )
        return True

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Return the parameter's state, initialized as `torch.optim.Adam` does."""
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state


class Muon(Adam):
    """Muon for convolutions with several input channels, AdamW for all other parameters.

    Muon moves a weight matrix along the orthogonal matrix nearest to its Nesterov momentum, which
    has the same length in every direction (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon). As its authors recommend, AdamW updates the first
    layer (of grayscale images), the last layer, biases and norms.
    """

    def __init__(self, config: MuonConfig, network: nn.Module) -> None:
        layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        weights = {id(layer.weight) for layer in layers if layer.in_channels > 1}
        inner = [p for p in network.parameters() if id(p) in weights and p.requires_grad]
        factor, scale = config.backbone_lr_factor, config.adam_learning_rate / config.learning_rate
        groups: list[dict[str, Any]] = [
            {"params": inner, "scale": factor, "momentum": config.momentum}
        ]
        for group in parameter_groups(network, factor):
            rest = [p for p in group["params"] if not any(p is other for other in inner)]
            group_scale = scale * group.get("scale", 1.0)
            groups.append(
                {"params": rest, "lr": config.learning_rate * group_scale, "scale": group_scale}
            )
        super().__init__(
            groups,
            compiled_kernels(network),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            decoupled_weight_decay=True,
            fused=True,
            capturable=_is_on_cuda(network),
        )

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; Muon's gradients become None."""
        group = self.param_groups[0]
        by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape[parameter.shape].append(parameter)
        few = torch.get_num_threads() <= FEW_THREADS
        with one_thread() if few else contextlib.nullcontext():
            for parameters in by_shape.values():
                self._step_muon(parameters, group)
                for parameter in parameters:
                    parameter.grad = None  # so that AdamW skips it
        super().step()

    def _step_muon(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Update weights of one shape, (out, in, k, k), as matrices (out, in · k · k)."""
        learning_rate, beta = group["lr"], group["momentum"]
        gradients: list[Any] = [parameter.grad for parameter in parameters]
        momenta = [self._momentum_of(parameter) for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - beta)
        nesterov = torch._foreach_lerp(gradients, momenta, beta)
        matrices = _orthogonalize_each([direction.flatten(1) for direction in nesterov])
        rows, columns = matrices[0].shape
        updates = [matrix.reshape(parameters[0].shape) for matrix in matrices]
        size = learning_rate * max(1.0, rows / columns) ** 0.5
        torch._foreach_mul_(parameters, 1 - learning_rate * group["weight_decay"])
        if isinstance(size, Tensor):  # which `alpha` cannot be
            torch._foreach_sub_(parameters, list(torch._foreach_mul(updates, size)))
        else:
            torch._foreach_add_(parameters, updates, alpha=-size)

    def _momentum_of(self, parameter: Tensor) -> Tensor:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # torch.optim.Adam expects one in every state
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


def _orthogonalize_each(matrices: list[Tensor]) -> list[Tensor]:
    """Return `orthogonalize` of matrices of one shape, as one batch on CUDA."""
    if matrices[0].is_cuda:
        return list(orthogonalize(torch.stack(matrices)).unbind())
    return [orthogonalize(matrix) for matrix in matrices]


def orthogonalize(matrices: Tensor) -> Tensor:
    """Return approximately U Vᵀ of the singular value decompositions U S Vᵀ of matrices.

    Four steps of a quintic Newton-Schulz iteration with the coefficients of Jordan et al. bring the
    larger singular values to between 0.7 and 1.2. As in their implementation, products are in
    bfloat16 on CUDA; a more exact result did not train better.

    Args:
        matrices: (..., rows, columns) float.

    Returns:
        float of the same shape and type.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if tall else matrices
    x = x.bfloat16() if x.is_cuda else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(4):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


def scheduled_learning_rate(
    schedule: ConstantSchedule | DecaySchedule, peak: float, step: int, steps: int
) -> float:
    """Return the learning rate of a step.

    Args:
        schedule: constant, linear or cosine decay, the latter two after a linear warmup.
        peak: the optimizer's learning rate, the maximum of the schedule.
        step: 0 to `steps` - 1.
        steps: of the whole training.
    """
    if isinstance(schedule, ConstantSchedule):
        return peak
    warmup = schedule.warmup * steps
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    progress = (step - warmup) / (steps - warmup)
    if schedule.name == "linear":
        return peak * (1 - progress)
    return peak * (1 + math.cos(math.pi * progress)) / 2
