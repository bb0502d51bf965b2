"""Results of a hyper-parameter search, as tables and figures use them: trials and dimensions."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

TrialState = Literal["waiting", "running", "complete", "pruned", "failed", "interrupted"]
"""``pruned``: stopped early. ``interrupted``: its process ended, and its values run again."""
FINISHED_STATES = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class Trial:
    """One trial: hyper-parameters and the result of training with them.

    Attributes:
        number: position in the study, from 0.
        state: one of `TrialState`.
        loss: calibrated validation loss of the selected weights, or of the last epoch if there are
            none; None before the first epoch.
        accuracy: validation accuracy of the same weights, from 0 to 1.
        epochs: epochs trained.
        seconds: training time.
        parameters: values by dotted setting key.
        from_recipe: whether the values are those of the recipe.
        reason: why the trial failed.
        curve: validation loss after each epoch.
    """

    number: int
    state: TrialState
    loss: float | None
    accuracy: float | None
    epochs: int
    seconds: float | None
    parameters: dict[str, Any]
    from_recipe: bool
    reason: str | None
    curve: tuple[float, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether the trial counts as finished; an interrupted trial runs again as another one."""
        return self.state in FINISHED_STATES

    def to_dict(self) -> dict[str, Any]:
        """Return the trial as ``fashioncnn tune --json`` prints it."""
        values = dict(vars(self))
        del values["curve"]
        # The public key since version 0.1: the values are the recipe's own.
        values["own"] = values.pop("from_recipe")
        return values


@dataclass(frozen=True)
class Finalist:
    """One of the best trials, trained again with other seeds.

    Attributes:
        trial: of the search.
        losses: validation loss of each complete training, by increasing seed.
        accuracies: validation accuracy of each, from 0 to 1.
        seeds: number of trainings, complete or not.
        failed: how many of them failed.
    """

    trial: Trial
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    seeds: int
    failed: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether all trainings are complete."""
        return 0 < len(self.losses) == self.seeds

    @property
    def mean_loss(self) -> float:
        """Mean loss of the complete trainings; infinite without one."""
        return statistics.fmean(self.losses) if self.losses else math.inf

    def describe_loss(self) -> str:
        """Return mean, standard deviation and number, as ``0.2345 ± 0.0012 over 3 other seeds``."""
        if len(self.losses) < 2:
            return f"{self.mean_loss:.4f} with {len(self.losses)} other seed"
        std = statistics.stdev(self.losses)
        return f"{self.mean_loss:.4f} ± {std:.4f} over {len(self.losses)} other seeds"

    def to_dict(self) -> dict[str, Any]:
        """Return the finalist as ``fashioncnn tune --json`` prints it."""
        return {
            "trial": self.trial.number,
            "losses": list(self.losses),
            "accuracies": list(self.accuracies),
            "seeds": self.seeds,
            "failed": self.failed,
        }


def best_finalist(finalists: Iterable[Finalist]) -> Finalist | None:
    """Return the complete finalist with the lowest mean loss; None if none is complete."""
    complete = [finalist for finalist in finalists if finalist.is_complete]
    return min(complete, key=lambda finalist: finalist.mean_loss, default=None)


@dataclass(frozen=True)
class Dimension:
    """One searched setting, as an axis of a figure or a row of a table.

    Attributes:
        key: dotted key of the setting.
        name: name in tables and figures.
        low: smallest value; 0 for choices.
        high: largest value; the last index for choices.
        log: whether the axis is logarithmic.
        choices: unordered values; empty for numbers.
    """

    key: str
    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def value(self, trial: Trial) -> float:
        """Return the trial's value; for choices, its index."""
        value = trial.parameters[self.key]
        return float(self.choices.index(value) if self.choices else value)

    def fraction(self, trial: Trial) -> float:
        """Return the position of the trial's value along the axis, from 0 to 1."""
        low, value, high = self.low, self.value(trial), self.high
        if self.log:
            low, value, high = math.log(low), math.log(value), math.log(high)
        return (value - low) / (high - low)


def with_loss(trials: Iterable[Trial], state: TrialState) -> list[tuple[float, Trial]]:
    """Return the trials in one state that have a loss, each with its loss, in their order."""
    return [(t.loss, t) for t in trials if t.state == state and t.loss is not None]


def rank_trials(trials: Iterable[Trial]) -> list[Trial]:
    """Return the complete trials by increasing loss; of equal losses, the earlier trial first."""
    return [trial for _, trial in sorted(with_loss(trials, "complete"), key=lambda pair: pair[0])]


def best_trial(trials: Iterable[Trial]) -> Trial | None:
    """Return the complete trial with the lowest loss; None if no trial is complete."""
    return next(iter(rank_trials(trials)), None)


def count_states(trials: Iterable[Trial], *states: TrialState) -> str:
    """Return the number of trials in each state, as ``12 complete, 3 pruned``; omits zeros."""
    counts = Counter(trial.state for trial in trials)
    return ", ".join(f"{counts[state]} {state}" for state in states if counts[state])


def format_value(value: Any) -> str:
    """Return a value as tables show it: four significant digits, lists without brackets."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(format_value, value))
    return str(value)
