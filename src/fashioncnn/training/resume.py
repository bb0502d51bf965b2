"""The connection of a training to its run folder: checkpoints, history, resuming."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.errors import RunError
from fashioncnn.runs import RunFolder
from fashioncnn.settings import Settings
from fashioncnn.training.callbacks import Callback, KeepBest
from fashioncnn.training.checkpoint import (
    Notify,
    discard_checkpoints_after,
    ignore,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    with_prefix,
    without_prefix,
)
from fashioncnn.training.extension import can_extend
from fashioncnn.training.ranks import differences
from fashioncnn.training.state import Progress, Record, TrainState

CHANGEABLE = (
    ("data", "source"),
    ("training", "epochs"),
    ("training", "checkpoint_seconds"),
    ("distillation", "teachers"),  # compared by their SHA-256
    ("runtime", "device"),
    ("runtime", "kernels"),
    ("runtime", "threads"),
)
"""Settings that may differ when a run is resumed."""


@dataclass
class Checkpoints(Callback):
    """Writes checkpoints and the history of a run, and restores them.

    Attributes:
        run: the run folder; None, for a training in memory, writes nothing.
        settings: of the run, resolved.
        data_sha256: of the training split before the validation split is held out.
        teachers: SHA-256 by name of given teachers.
        best: its weights are part of a checkpoint.
        notify: called with a message about each damaged checkpoint.
    """

    run: RunFolder | None
    settings: Settings
    data_sha256: str
    teachers: dict[str, str]
    best: KeepBest
    notify: Notify = ignore
    _saved_at: float = field(default_factory=time.monotonic, init=False)

    def on_step(self, state: TrainState) -> None:
        """Write a checkpoint if the last one is old enough."""
        if time.monotonic() - self._saved_at >= self.settings.training.checkpoint_seconds:
            self.save(state)

    def on_epoch(self, state: TrainState, record: Record) -> None:  # noqa: ARG002
        """Write a checkpoint and the history."""
        self.save(state)
        if self.run is not None:
            self.run.write_history(state.history)

    def save(self, state: TrainState) -> None:
        """Write a checkpoint."""
        if self.run is None:
            return
        state.progress.settle()
        state.require_finite_weights()
        save_checkpoint(self.run.checkpoints, state.progress.step, *self.content(state))
        self._saved_at = time.monotonic()

    def content(self, state: TrainState) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and the other values, as JSON types, of a checkpoint."""
        tensors = {
            **with_prefix(state.network.state_dict(), "model."),
            **optimizer_tensors(state.optimizer),
            **with_prefix(self.best.tensors, "best."),
        }
        if state.ema is not None:
            tensors |= with_prefix(state.ema.network.state_dict(), "ema.")
        best = {"score": self.best.score, "epoch": self.best.epoch} if self.best.tensors else {}
        content = {
            "progress": state.progress.to_dict(),
            "history": state.history,
            "best": best,
            "settings": fixed_settings(self.settings),
            "preprocessing": asdict(state.spec.preprocessing),
            "epochs": self.settings.training.epochs,
            "data_sha256": self.data_sha256,
            "teachers": list(self.teachers.values()),
        }
        return tensors, content

    def restore(self, state: TrainState) -> TrainState | None:
        """Return the state of the newest intact checkpoint; None if there is none.

        Raises:
            RunError: checkpoints are damaged, or belong to other data, settings or teachers.
        """
        if self.run is None:
            return None
        folder, path = self.run.checkpoints, self.run.path
        checkpoint = load_checkpoint(folder, self.notify)
        if checkpoint is None:
            discard_checkpoints_after(folder, 0)
            return None
        tensors, content = checkpoint
        try:
            self._check(content, path)
            restored = self.apply(state, tensors, content)
        except (RuntimeError, KeyError, TypeError, ValueError, IndexError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(
                f"{path}: its checkpoint does not match its config.toml ({reason})"
            ) from None
        discard_checkpoints_after(folder, restored.progress.step)
        self.run.write_history(restored.history)
        return restored

    def _check(self, content: dict[str, Any], path: Path) -> None:
        if content["data_sha256"] != self.data_sha256:
            raise RunError(f"{path}: the run was started with other training data")
        before = Settings.model_validate(content["settings"], strict=False)
        changes = differences(fixed_settings(before), fixed_settings(self.settings))
        if changes:
            raise RunError(
                f"{path}: config.toml was changed after the run started ({'; '.join(changes)}); "
                f"restore it, or start a new run with --from {path}"
            )
        check_epochs(content["epochs"], self.settings, path)
        if content["teachers"] != list(self.teachers.values()):
            raise RunError(f"{path}: the run was started with other teachers than exist there now")

    def apply(
        self, state: TrainState, tensors: dict[str, Tensor], content: dict[str, Any]
    ) -> TrainState:
        """Return the state with what `content` returned."""
        state.network.load_state_dict(without_prefix(tensors, "model."))
        progress = Progress.from_dict(content["progress"])
        if state.ema is not None:
            state.ema.network.load_state_dict(without_prefix(tensors, "ema."))
            state.ema.updates = progress.step
        restore_optimizer(state.optimizer, tensors)
        if content["best"]:
            self.best.score = content["best"]["score"]
            self.best.epoch = content["best"]["epoch"]
            self.best.tensors = without_prefix(tensors, "best.")
        restored = state.with_spec(preprocessing=Preprocessing(**content["preprocessing"]))
        restored.progress, restored.history = progress, content["history"]
        return restored


def check_epochs(before: int, settings: Settings, path: Path) -> None:
    """Reject fewer epochs than before, and more if the schedule depends on their number.

    Raises:
        RunError: the run cannot be resumed with this number of epochs.
    """
    epochs = int(settings.training.epochs)
    if epochs < before or (epochs > before and not can_extend(settings)):
        raise RunError(f"{path}: was started with {before} epochs, not {epochs}; start a new run")


def changed_settings(before: Settings, now: Settings) -> list[str]:
    """Return each setting that differs, apart from paths and hardware, with both values."""
    changes = differences(fixed_settings(before), fixed_settings(now))
    if before.training.epochs != now.training.epochs:
        epochs = before.training.epochs, now.training.epochs
        changes.append(f"training.epochs from {epochs[0]} to {epochs[1]}")
    return changes


def fixed_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that may not change when a run is resumed, as JSON types."""
    values = settings.model_dump(mode="json", exclude={"description"})
    for section, name in CHANGEABLE:
        del values[section][name]
    return values
