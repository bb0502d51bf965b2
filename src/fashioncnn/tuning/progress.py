"""Progress of a search, and callbacks that show it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

from fashioncnn.reporting.trials import Trial


@dataclass
class SearchProgress:
    """Progress of a search.

    Attributes:
        trials: all trials of the study by number.
        target: finished trials after which the search ends; infinite if only time limits it.
        epochs: epochs of a complete trial.
        started: `time.monotonic` at the start of this call.
        finished_before: trials finished before this call.
    """

    trials: list[Trial]
    target: float
    epochs: int
    started: float = field(default_factory=time.monotonic)
    finished_before: int = 0

    @property
    def finished(self) -> int:
        """Number of finished trials."""
        return sum(trial.is_finished for trial in self.trials)


class SearchCallback(Protocol):
    """Called by `fashioncnn.tuning.search.run_search`."""

    def on_update(self, progress: SearchProgress) -> None:
        """Called several times per second."""

    def on_trial_end(self, trial: Trial, progress: SearchProgress) -> None:
        """Called when a trial is finished or interrupted."""
