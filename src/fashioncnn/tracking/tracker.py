"""What a tracker does, and what it gets to know of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from fashioncnn.reporting.trials import Trial
from fashioncnn.settings import Settings

Status = Literal["FINISHED", "FAILED", "KILLED"]
PREFIXES = ("train", "val", "test")


@dataclass(frozen=True)
class TrackedRun:
    """A training, as a tracker begins or continues it.

    Attributes:
        name: shown by the tracker.
        parameters: settings by dotted key.
        history: metrics by name of each epoch that is done, from the first.
        identity: what `remember` was called with in an earlier process; None for a new run.
        remember: stores the identity, with which a resumed run continues.
    """

    name: str
    parameters: Mapping[str, Any]
    history: Sequence[Mapping[str, float]] = ()
    identity: str | None = None
    remember: Callable[[str], None] = lambda identity: None  # noqa: ARG005


@dataclass(frozen=True)
class TrackedTrial:
    """A finished trial of a search, or a training of one of its finalists.

    Attributes:
        number: of the trial in the search.
        state: ``complete``, ``pruned`` or ``failed``.
        parameters: values by dotted key.
        curve: loss after each epoch.
        metrics: final values by name.
        seed: with which the trial, a finalist, was trained again; None for the trial itself.
    """

    number: int
    state: str
    parameters: Mapping[str, Any]
    curve: Sequence[float]
    metrics: Mapping[str, float]
    seed: int | None = None

    @property
    def name(self) -> str:
        """What the tracker shows, such as ``trial 4`` or ``trial 4 with seed 1``."""
        again = "" if self.seed is None else f" with seed {self.seed}"
        return f"trial {self.number}{again}"

    @property
    def key(self) -> str:
        """What the trial is called in a search, such as ``4`` or ``4-seed-1``."""
        return str(self.number) if self.seed is None else f"{self.number}-seed-{self.seed}"


@dataclass(frozen=True)
class Artifacts:
    """Files of a finished run or search.

    Attributes:
        files: such as the report; those that do not exist are left out.
        images: PNG files by name.
        model: folder of the model, or None.
    """

    files: Sequence[Path] = ()
    images: Mapping[str, Path] = field(default_factory=dict)
    model: Path | None = None


class Tracker(Protocol):
    """Writes to one place; any exception ends tracking there, and nothing else."""

    def start(self, run: TrackedRun) -> None:
        """Begin a run, or continue it without repeating an epoch."""

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of an epoch, counted from 1."""

    def log_trial(self, trial: TrackedTrial) -> None:
        """Add a trial or finalist of the search as a run within this one, unless it is there."""

    def finish(self, metrics: Mapping[str, float], artifacts: Artifacts) -> None:
        """Add final metrics and files."""

    def close(self, status: Status) -> None:
        """End the run."""


def tracked_trial(trial: Trial, number: int | None = None, seed: int | None = None) -> TrackedTrial:
    """Return what is tracked of a finished trial.

    Args:
        trial: of the search, or a training of one of its finalists.
        number: of the trial that a finalist is.
        seed: with which the finalist was trained.
    """
    values = {"loss": trial.loss, "accuracy": trial.accuracy, "seconds": trial.seconds}
    metrics = {f"final/{key}": value for key, value in values.items() if value is not None}
    parameters = trial.parameters if seed is None else {**trial.parameters, "training.seed": seed}
    number = trial.number if number is None else number
    return TrackedTrial(number, trial.state, parameters, trial.curve, metrics, seed)


def flat_settings(settings: Settings) -> dict[str, Any]:
    """Return settings by dotted key, without those that are not set."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return {
        f"{section}.{key}" if isinstance(table, dict) else section: value
        for section, table in values.items()
        for key, value in (table.items() if isinstance(table, dict) else [("", table)])
    }


def epoch_metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a history record, named as ``loss/train`` and ``accuracy/val``.

    The names group the curves of several splits in one chart.
    """
    metrics = {}
    for key, value in record.items():
        prefix, _, metric = key.partition("_")
        name = f"{metric}/{prefix}" if prefix in PREFIXES else key
        if key != "epoch" and _is_number(value):
            metrics[name] = float(value)
    return metrics


def final_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the main numbers of metrics.json, named as ``final/test_accuracy``."""
    values: dict[str, float] = {}
    for split in ("validation", "test"):
        for key, value in (metrics.get(split) or {}).items():
            if _is_number(value) and key != "schema":
                values[f"final/{split}_{key}"] = float(value)
    for key, value in metrics.get("summary", {}).items():
        if _is_number(value):
            values[f"final/{key}"] = float(value)
    return values


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)
