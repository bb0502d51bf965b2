"""Callbacks of the training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fashioncnn.data.dataset import Split
from fashioncnn.errors import DivergedError, FashionCNNError
from fashioncnn.evaluation.metrics import accuracy, cross_entropy
from fashioncnn.inference.predictor import Views
from fashioncnn.models.backend import compute_logits, torch_predictor
from fashioncnn.runs import RunFolder
from fashioncnn.settings import TrainingConfig
from fashioncnn.training.state import Record, TrainState
from fashioncnn.training.summary import SPLIT_NAMES, epochs_without_improvement, score

StopReason = Callable[[], FashionCNNError | None]
"""Called after every step; a returned error stops the training once a checkpoint is saved."""
MAX_LOSS, MAX_FIRST_LOSS = 2.0, 10.0
"""Training loss of an epoch, and of the first one, above which a training diverges; as multiples of
the loss of guessing."""


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
            image, see `fashioncnn.data.dataset.Split.views`; and the split that they are of, by the
            prefix of their keys in the history (``val``, ``test``). Each image belongs to a class.
    """

    splits: Mapping[str, tuple[Tensor | Views, Split]]

    def on_epoch(self, state: TrainState, record: Record) -> None:
        """Evaluate the weights that would be kept."""
        state.require_finite_weights()
        model = state.model
        for name, (images, split) in self.splits.items():
            if isinstance(images, Tensor):
                logits = compute_logits(
                    model.network, model.spec.preprocessing, images, state.precision
                )
            else:
                logits = torch_predictor(model, state.precision).logits(images)
            labels = split.correct_labels(logits)
            loss = cross_entropy(logits, labels)
            if not math.isfinite(loss):
                epoch = record["epoch"]
                raise DivergedError(
                    f"the {SPLIT_NAMES[name]} loss became {loss} after epoch {epoch}; try a lower "
                    "--learning-rate"
                )
            state.evaluated[name] = logits, labels
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
        current = score(record, self.config.select_by)
        if current > self.score:
            weights = state.model.network.state_dict()
            self.tensors = {name: t.detach().clone() for name, t in weights.items()}
            self.score, self.epoch = current, record["epoch"]


@dataclass
class StopEarly(Callback):
    """Ends the training when the validation metric has not improved for `patience` epochs.

    It decides from the history alone, so that a resumed training ends at the same epoch (Prechelt
    1998, Early Stopping - But When?, criterion UP with the best epoch as the reference).

    Attributes:
        config: ``patience`` and ``select_by``.
    """

    config: TrainingConfig

    def on_start(self, state: TrainState, images: int) -> None:  # noqa: ARG002
        """Train no further if the history of a resumed training is a reason to stop."""
        self._check(state)

    def on_epoch(self, state: TrainState, record: Record) -> None:
        """Add the number of epochs without improvement to the record, and stop at `patience`."""
        if self.config.patience:
            record["epochs_without_improvement"] = self._check(state)

    def _check(self, state: TrainState) -> int:
        patience, metric = self.config.patience, self.config.select_by
        if not patience:
            return 0
        waited = epochs_without_improvement(state.history, metric)
        if waited >= patience:
            state.stop_reason = (
                f"no better validation {metric} for {waited} epoch{'s' if waited > 1 else ''}"
            )
        return waited


@dataclass
class WarnOfDivergence(Callback):
    """Warns once when the training loss is far above that of guessing, though still finite.

    Guessing has the loss ln(classes), with any label smoothing, mixing and label noise. The first
    epoch may contain high losses before the network adapts.

    Attributes:
        notify: called with the message.
    """

    notify: Callable[[str], None]
    warned: bool = False

    def on_epoch(self, state: TrainState, record: Record) -> None:
        """Warn if the mean loss of the epoch is too high."""
        guessing = math.log(len(state.spec.labels)) * max(1.0, state.loss.temperature**2)
        factor = MAX_FIRST_LOSS if record["epoch"] == 1 else MAX_LOSS
        if record["train_loss"] <= factor * guessing or self.warned:
            return
        self.warned = True
        self.notify(
            f"the training loss of epoch {record['epoch']} is {record['train_loss']:.4g}, far "
            f"above that of guessing ({guessing:.4g}): training diverges; try a lower learning rate"
        )


@dataclass
class StopOnRequest(Callback):
    """Stops the training with the error that `reason` returns.

    Attributes:
        reason: called after every step; None continues.
        save: called before the error is raised.
    """

    reason: StopReason
    save: Callable[[TrainState], None]

    def on_step(self, state: TrainState) -> None:
        """Stop if requested."""
        error = self.reason()
        if error is not None:
            self.save(state)
            raise error
