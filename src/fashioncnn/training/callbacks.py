"""Callbacks of the training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fashioncnn.errors import DivergedError, FashionCNNError
from fashioncnn.evaluation.metrics import Labels, accuracy, cross_entropy
from fashioncnn.inference.predictor import Views
from fashioncnn.models.backend import compute_logits, torch_predictor
from fashioncnn.runs import RunFolder
from fashioncnn.settings import TrainingConfig
from fashioncnn.training.state import Record, TrainState
from fashioncnn.training.summary import SPLIT_NAMES


class Callback:
    """Called by `fashioncnn.training.loop.fit`; subclasses implement the methods they need."""

    def on_start(self, state: TrainState, images: int) -> None:
        """Called before the first step of a new or resumed training; `images` per epoch."""

    def on_step(self, state: TrainState) -> None:
        """Called after every step; may raise to stop the training."""

    def on_epoch(self, state: TrainState, record: Record) -> None:
        """Called after every epoch with its record, which may be extended."""

    def on_end(self, state: TrainState) -> None:
        """Called after the last epoch."""

    def on_artifacts(self, run: RunFolder) -> None:
        """Called when all files of the run folder are written."""


@dataclass
class EvaluateSplits(Callback):
    """Adds loss and accuracy of other splits to the record of each epoch.

    Attributes:
        splits: images (n, channels, size, size) uint8 on the device, or several views of each
            image, see `fashioncnn.data.dataset.Split.views`; and labels, by the prefix of their
            keys in the history (``val``, ``test``).
    """

    splits: Mapping[str, tuple[Tensor | Views, Labels]]

    def on_epoch(self, state: TrainState, record: Record) -> None:
        """Evaluate the weights that would be kept."""
        state.require_finite_weights()
        model = state.model
        for name, (images, labels) in self.splits.items():
            if isinstance(images, Tensor):
                logits = compute_logits(
                    model.network, model.spec.preprocessing, images, state.precision
                )
            else:
                logits = torch_predictor(model, state.precision).logits(images)
            loss = cross_entropy(logits, labels)
            if not math.isfinite(loss):
                split, epoch = SPLIT_NAMES[name], record["epoch"]
                raise DivergedError(
                    f"the {split} loss became {loss} after epoch {epoch}; try a lower "
                    "--learning-rate"
                )
            record[f"{name}_loss"] = loss
            record[f"{name}_accuracy"] = accuracy(logits, labels)


@dataclass
class KeepBest(Callback):
    """Keeps the weights of the best validation epoch.

    Attributes:
        config: ``select`` and ``select_by``.
        score: of the best epoch; higher is better.
        epoch: the best one so far; 0 before the first, and if the last weights are selected.
        tensors: its weights.
    """

    config: TrainingConfig
    score: float = -math.inf
    epoch: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def on_epoch(self, state: TrainState, record: Record) -> None:
        """Keep the weights if they are better than before."""
        if self.config.select != "best_val":
            return
        by_loss = self.config.select_by == "loss"
        score = -record["val_loss"] if by_loss else record["val_accuracy"]
        if score > self.score:
            weights = state.model.network.state_dict()
            self.tensors = {name: t.detach().clone() for name, t in weights.items()}
            self.score, self.epoch = score, record["epoch"]


@dataclass
class StopOnRequest(Callback):
    """Stops the training with the error that `reason` returns.

    Attributes:
        reason: called after every step; None continues.
        save: called before the error is raised.
    """

    reason: Callable[[], FashionCNNError | None]
    save: Callable[[TrainState], None]

    def on_step(self, state: TrainState) -> None:
        """Stop if requested."""
        error = self.reason()
        if error is not None:
            self.save(state)
            raise error
