"""The state of a training: network, optimizer, EMA, progress and history."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.errors import DivergedError
from fashioncnn.evaluation.metrics import Labels, Logits
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.training.ema import EMA
from fashioncnn.training.losses import Loss
from fashioncnn.training.ranks import ALONE, Ranks

SAVED_PROGRESS = ("epoch", "step", "position", "loss_sum", "correct", "seconds")
MAX_PENDING = 50
"""Steps between two reads of the loss: each read waits for the device."""

Record = dict[str, Any]
"""The metrics of one epoch, one line of history.jsonl."""


@dataclass
class Progress:
    """How far the training is; with weights and optimizer, the content of a checkpoint.

    Attributes:
        epoch: completed epochs.
        step: completed optimizer steps.
        position: images of the current epoch that were used.
        loss_sum: their summed loss, in nats.
        correct: how many of them were classified correctly.
        seconds: of training in this epoch.
    """

    epoch: int = 0
    step: int = 0
    position: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seconds: float = 0.0
    _pending: list[tuple[Tensor, Tensor, int]] = field(default_factory=list, repr=False)

    def add(self, loss: Tensor, correct: Tensor, n: int) -> None:
        """Count a step over `n` images without waiting for the device.

        Args:
            loss: () float, the mean over the images.
            correct: () int64, the number of correct predictions.
            n: number of images.
        """
        self._pending.append((loss, correct, n))
        self.step += 1
        self.position += n
        if len(self._pending) >= MAX_PENDING:
            self.settle()

    def settle(self) -> None:
        """Add the pending losses to the sums; raises `DivergedError` if one is not finite."""
        if not self._pending:
            return
        losses, correct, sizes = zip(*self._pending, strict=True)
        self._pending.clear()
        # One transfer from the device for each list.
        for loss, n in zip(torch.stack(losses).tolist(), sizes, strict=True):
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss became {loss} in epoch {self.epoch + 1}, by step {self.step}; try "
                    "a lower --learning-rate"
                )
            self.loss_sum += loss * n
        self.correct += int(torch.stack(correct).sum())

    def finish_epoch(self) -> None:
        """Start the next epoch."""
        self.epoch += 1
        self.position, self.loss_sum, self.correct, self.seconds = 0, 0.0, 0, 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that a checkpoint contains."""
        return {name: getattr(self, name) for name in SAVED_PROGRESS}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Progress:
        """Return what `to_dict` returned; raises `KeyError` if a field is missing."""
        return cls(**{name: values[name] for name in SAVED_PROGRESS})


@dataclass
class TrainState:
    """Everything that `fashioncnn.training.loop.fit` changes, and what a step needs.

    Attributes:
        network: that is trained.
        spec: of the network.
        optimizer: of the network's parameters.
        learning_rate: by step, counted from 0.
        loss: of logits and a batch.
        epochs: to train in total.
        seed: of dropout.
        precision: ``fp32`` or ``bf16``.
        ema: moving average of the weights, or None.
        stop_reason: why no further epoch follows; empty if training goes on to the last one.
        name: ``teacher 1 of 2`` or ``student`` with distillation, else empty.
        ranks: this process among those that train the network together.
        progress: so far.
        history: one record per completed epoch.
        evaluated: logits (n, classes) float32 and labels (n,) uint8 of the splits evaluated after
            the last epoch, by their prefix in the history; not part of a checkpoint.
    """

    network: nn.Module
    spec: ModelSpec
    optimizer: torch.optim.Optimizer
    learning_rate: Callable[[int], float]
    loss: Loss
    epochs: int
    seed: int
    precision: str = "fp32"
    ema: EMA | None = None
    stop_reason: str = ""
    name: str = ""
    ranks: Ranks = ALONE
    progress: Progress = field(default_factory=Progress)
    history: list[Record] = field(default_factory=list)
    evaluated: dict[str, tuple[Logits, Labels]] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device

    @property
    def model(self) -> TrainedModel:
        """The model that is evaluated and kept: with the averaged weights, if there is an EMA."""
        network = self.network if self.ema is None else self.ema.network
        return TrainedModel(network, self.spec)

    def finish_epoch(self) -> Record:
        """Append the record of the completed epoch to the history and return it."""
        progress = self.progress
        progress.settle()
        n = progress.position
        record: Record = {
            "epoch": progress.epoch + 1,
            "train_loss": progress.loss_sum / n,
            "train_accuracy": progress.correct / n,
            **dict.fromkeys(("val_loss", "val_accuracy", "test_loss", "test_accuracy")),
            "learning_rate": self.learning_rate(progress.step - 1),
            "seconds": progress.seconds,
            "images_per_second": n / progress.seconds,
        }
        progress.finish_epoch()
        self.history.append(record)
        return record

    def require_finite_weights(self) -> None:
        """Raise `DivergedError` if a weight is not finite; a loss may not show this yet."""
        if not all(bool(p.isfinite().all()) for p in self.network.parameters()):
            raise DivergedError(
                f"the weights are not finite after step {self.progress.step}; try a lower "
                "--learning-rate"
            )

    def with_spec(self, **values: Any) -> TrainState:
        """Return a state that shares everything but has other values in its specification."""
        return replace(self, spec=self.spec.replace(**values))
