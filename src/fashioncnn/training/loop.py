"""The training loop: no files, no flags, no test set."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.augmentation.pipeline import Augmentation
from fashioncnn.data.seeding import dropout_seed, epoch_order
from fashioncnn.errors import DivergedError

KEPT_PROGRESS = ("epoch", "step", "position", "loss_sum", "correct", "seconds")
CHECK_EVERY = 50
"""Steps between looks at the loss: each look waits for the device."""


@dataclass(frozen=True)
class EpochResult:
    """What one epoch came to on the training part, measured while learning.

    Attributes:
        epoch: counted from 1.
        loss: mean over the network_input, in nats, dropout, smoothing and class weights included.
        accuracy: in [0, 1], dropout and augmentation included; of mixed network_input, how often a
            image's own label was named, however little of it is left; of network_input of no
            class likewise, so that they count as wrong.
        seconds: spent learning.
        n: network_input learnt from.
    """

    epoch: int
    loss: float
    accuracy: float
    seconds: float
    n: int


@dataclass
class Progress:
    """How far training has come; with the weights and the optimiser, all a checkpoint needs.

    Attributes:
        epoch: whole epochs done.
        step: optimiser steps done.
        position: network_input of the present epoch already learnt from.
        loss_sum: their summed loss, in nats.
        correct: how many of them were right.
        seconds: spent learning in this epoch.
    """

    epoch: int = 0
    step: int = 0
    position: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    _pending: list[tuple[Tensor, Tensor, int]] = field(default_factory=list, repr=False)

    def add(self, loss: Tensor, correct: Tensor, n: int) -> None:
        """Count a step over `n` network_input, without waiting for the device."""
        self._pending.append((loss, correct, n))
        self.step += 1
        self.position += n
        if len(self._pending) >= CHECK_EVERY:
            self.settle()

    def settle(self) -> None:
        """Bring the sums up to date; raise `DivergedError` where a loss is not finite."""
        for loss, correct, n in self._pending:
            value = loss.item()
            if not math.isfinite(value):
                raise DivergedError(
                    f"the loss became {value} in epoch {self.epoch + 1}, by step {self.step}; try "
                    "a lower --learning-rate"
                )
            self.loss_sum += value * n
            self.correct += int(correct.item())
        self._pending.clear()

    def as_dict(self) -> dict[str, Any]:
        """Return the fields a checkpoint keeps."""
        return {name: getattr(self, name) for name in KEPT_PROGRESS}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Progress:
        """Return what `as_dict` gave; raise `KeyError` where a field is missing."""
        return cls(**{name: values[name] for name in KEPT_PROGRESS})

    def finish_epoch(self) -> EpochResult:
        """Return what the epoch came to, and begin the next one."""
        self.settle()
        self.epoch += 1
        n = self.position
        result = EpochResult(self.epoch, self.loss_sum / n, self.correct / n, self.seconds, n)
        self.position, self.loss_sum, self.correct, self.seconds = 0, 0.0, 0, 0.0
        return result


@dataclass(frozen=True)
class Recipe:
    """What the loop needs to know.

    Attributes:
        epochs: train until so many are done.
        batch_size: network_input a step; the last of an epoch may have fewer.
        seed: decides the order of the network_input and dropout.
        precision: ``fp32`` or ``bf16``.
        label_smoothing: share of each label's weight spread over all classes.
        learning_rate: of a step.
        teacher_share: share of the teachers' answer in what is learnt, where there are any.
    """

    epochs: int
    batch_size: int
    seed: int
    precision: str
    label_smoothing: float
    learning_rate: Callable[[int], float]
    teacher_share: float = 0.0


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    preprocessing: Preprocessing,
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    progress: Progress,
    *,
    augmentation: Augmentation | None = None,
    averaged: AveragedModel | None = None,
    class_weights: Tensor | None = None,
    teachers: Callable[[Tensor], Tensor] | None = None,
    on_step: Callable[[Progress], None],
    on_epoch: Callable[[EpochResult], None],
) -> None:
    """Train `model` in place, from `progress` to the end of the recipe's epochs.

    Args:
        model: on the device of `images`.
        optimizer: of its parameters.
        preprocessing: from pixels to input.
        images: (n, 1, size, size) uint8.
        labels: (n,) int64.
        recipe: what to do.
        progress: where to begin; kept up to date.
        augmentation: what is done to the network_input first.
        averaged: the mean of the network's weights, brought up to date at every step.
        class_weights: (classes,) float32 weights of the loss.
        teachers: of augmented network_input, what is learnt of them beside their labels: probabilities,
            (n, classes) float32.
        on_step: called after every step; may raise to stop.
        on_epoch: called after every epoch, with what it came to.

    Raises:
        DivergedError: the loss is no longer finite.
    """
    n = len(labels)
    model.train()
    while progress.epoch < recipe.epochs:
        order = torch.from_numpy(epoch_order(recipe.seed, progress.epoch, n)).to(images.device)
        while progress.position < n:
            started = time.perf_counter()
            batch = order[progress.position : progress.position + recipe.batch_size]
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate(progress.step) * group.get("scale", 1.0)
            _seed(images.device, dropout_seed(recipe.seed, progress.step))
            network_input, target, share, outside = images[batch], labels[batch], None, None
            if augmentation is not None:
                network_input = augmentation(network_input, batch, progress.epoch)
                outside = augmentation.is_outlier(batch, progress.epoch)
                if augmentation.mixes:
                    network_input, share = augmentation.mix(network_input, batch, progress.epoch)
            with torch.autocast(
                images.device.type, torch.bfloat16, enabled=recipe.precision == "bf16"
            ):
                logits = model(preprocessing(network_input)).float()
            answers = None if teachers is None else teachers(network_input)
            how = class_weights, recipe.label_smoothing, answers, recipe.teacher_share
            loss = _loss(logits, target, share, outside, *how)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if averaged is not None:
                averaged.update_parameters(model)
            progress.add(loss.detach(), (logits.argmax(1) == target).sum(), len(batch))
            progress.seconds += time.perf_counter() - started
            on_step(progress)
        on_epoch(progress.finish_epoch())


def _loss(
    logits: Tensor,
    target: Tensor,
    share: Tensor | None,
    outside: Tensor | None,
    class_weights: Tensor | None,
    smoothing: float,
    answers: Tensor | None = None,
    teacher_share: float = 0.0,
) -> Tensor:
    """Return the mean cross-entropy of a batch.

    Of network_input outside of all classes every class is as right as another, and mixed network_input are
    judged by what they are made of. Smoothed is the labels' part alone.
    """
    if share is None and outside is None and answers is None:
        return F.cross_entropy(logits, target, class_weights, label_smoothing=smoothing)
    right = F.one_hot(target, logits.shape[1]).to(logits.dtype)
    if outside is not None:
        right = torch.where(outside.unsqueeze(1), 1 / logits.shape[1], right)
    if share is not None:
        right = torch.lerp(right.flip(0), right, share.unsqueeze(1))
    if answers is not None:
        right = right * (1 - smoothing) + smoothing / logits.shape[1]
        right, smoothing = torch.lerp(right, answers, teacher_share), 0.0
    if class_weights is None:
        return F.cross_entropy(logits, right, label_smoothing=smoothing)
    # A weighted mean, as PyTorch takes it of whole labels.
    total = F.cross_entropy(
        logits, right, class_weights, reduction="sum", label_smoothing=smoothing
    )
    return total / (right @ class_weights).sum()


def _seed(device: torch.device, seed: int) -> None:
    """Seed what is drawn on `device`; `torch.manual_seed` would ask after every other kind."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
