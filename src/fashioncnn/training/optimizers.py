"""Optimisers, and learning rates as pure functions of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from fashioncnn import kernels
from fashioncnn.settings import AdamConfig, ConstantSchedule, DecaySchedule, MuonConfig, SGDConfig


def build_optimizer(
    config: AdamConfig | SGDConfig | MuonConfig, network: nn.Module
) -> torch.optim.Optimizer:
    """Return the optimiser of a network's parameters that `config` describes, in its fused form.

    A group of parameters whose learning rate is not the schedule's has a ``scale`` to it.
    """
    if isinstance(config, MuonConfig):
        return Muon(config, network)
    if isinstance(config, SGDConfig):
        return torch.optim.SGD(
            network.parameters(),
            lr=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
            fused=True,
        )
    return Adam(
        network.parameters(),
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        decoupled_weight_decay=config.name == "adamw",
        fused=True,
    )


class Adam(torch.optim.Adam):
    """`torch.optim.Adam`, stepping by the compiled kernels where they suit."""

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        if any(group["amsgrad"] or group["maximize"] for group in self.param_groups):
            super().step()
            return
        steps = [(p, g) for g in self.param_groups for p in g["params"] if p.grad is not None]
        states = [self._state_of(parameter) for parameter, _ in steps]
        if not all(
            kernels.supports_adam(parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"])
            for (parameter, _), state in zip(steps, states, strict=True)
        ):
            super().step()
            return
        for (parameter, group), state in zip(steps, states, strict=True):
            state["step"] += 1
            kernels.adam_step(
                parameter,
                parameter.grad,
                state["exp_avg"],
                state["exp_avg_sq"],
                step=int(state["step"]),
                rate=group["lr"],
                betas=group["betas"],
                eps=group["eps"],
                weight_decay=group["weight_decay"],
                decoupled=group["decoupled_weight_decay"],
            )

    def _state_of(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """Return the parameter's state, as `torch.optim.Adam` begins it."""
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state


class Muon(Adam):
    """Muon for the weights of inner convolutions, AdamW for everything else.

    Muon steps by the orthogonal matrix nearest to its Nesterov momentum, which has the same effect
    in every direction (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon). The first
    layer, the last, biases and norms are left to AdamW, as it recommends.
    """

    def __init__(self, config: MuonConfig, network: nn.Module) -> None:
        layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        inner = [layer.weight for layer in layers if layer.in_channels > 1]
        rest = [p for p in network.parameters() if not any(p is other for other in inner)]
        groups = [
            {"params": inner, "scale": 1.0, "momentum": config.momentum},
            {
                "params": rest,
                "lr": config.adam_learning_rate,
                "scale": config.adam_learning_rate / config.learning_rate,
            },
        ]
        super().__init__(
            groups,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            decoupled_weight_decay=True,
            fused=True,
        )

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; those of Muon lose it."""
        group = self.param_groups[0]
        for parameter in group["params"]:
            if parameter.grad is not None:
                self._step_inner(parameter, parameter.grad, group)
                parameter.grad = None  # so that AdamW passes it by
        super().step()

    def _step_inner(self, parameter: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        rate, beta, state = group["lr"], group["momentum"], self.state[parameter]
        if "momentum_buffer" not in state:
            state["step"] = torch.zeros(())  # AdamW, whose state this is, asks for one
            state["momentum_buffer"] = torch.zeros_like(parameter)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - beta)
        direction = orthogonalize(gradient.lerp(momentum, beta).flatten(1))
        rows, columns = direction.shape
        parameter.mul_(1 - rate * group["weight_decay"])
        size = rate * max(1.0, rows / columns) ** 0.5
        parameter.add_(direction.reshape(parameter.shape), alpha=-size)


def orthogonalize(matrix: Tensor) -> Tensor:
    """Return U Vᵀ, roughly, of the singular value decomposition U S Vᵀ of a (rows, columns) matrix.

    Four steps of a quintic Newton-Schulz iteration with the coefficients of Jordan et al. bring
    the larger singular values to between 0.7 and 1.2; exactness was found not to matter.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(4):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def scheduled_learning_rate(
    schedule: ConstantSchedule | DecaySchedule, peak: float, step: int, steps: int
) -> float:
    """Return the learning rate of a step.

    Args:
        schedule: the shape.
        peak: the optimiser's learning rate, the highest there is.
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
