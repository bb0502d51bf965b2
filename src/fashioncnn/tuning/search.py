"""The search: draw values, train them, keep the best as a recipe."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import optuna

from fashioncnn.errors import FashionCNNError
from fashioncnn.reporting.trials import Trial
from fashioncnn.tuning.config import SearchConfig
from fashioncnn.tuning.events import Workers
from fashioncnn.tuning.folder import SearchFolder
from fashioncnn.tuning.loop import TrialLoop
from fashioncnn.tuning.progress import SearchCallback
from fashioncnn.tuning.storage import Storage

RESERVE = 1.1
"""Time kept for the finalists, as a multiple of what they probably take."""


def run_search(
    config: SearchConfig,
    folder: SearchFolder,
    study: optuna.Study,
    workers: Workers,
    *,
    jobs: int,
    trials: float = math.inf,
    seconds: float = math.inf,
    reserved_runs: int = 0,
    trial_timeout: float = math.inf,
    callback: SearchCallback,
    stop: Callable[[], FashionCNNError | None] = lambda: None,
    storage: Storage | None = None,
) -> list[Trial]:
    """Train trials until enough are finished or the time is up.

    Args:
        config: configuration of the search.
        folder: its folder, locked by this process.
        study: its study, without running trials of this process.
        workers: workers numbered from 0 to `jobs` - 1.
        jobs: trials to train at a time.
        trials: number of finished trials, including those of earlier calls and other machines.
        seconds: time limit; trials running at its end are interrupted, and the next call trains
            them again.
        reserved_runs: trainings for which time is left at the end of `seconds`.
        trial_timeout: seconds without progress after which a trial is killed and fails.
        callback: reports the progress.
        stop: polled continuously; an error that it returns is raised after the results are stored.
        storage: of the study; by default a journal.

    Returns:
        All trials of the study.

    Raises:
        RunError: a worker cannot load the data, or consecutive trials failed unexpectedly.
    """
    search = _Search(
        config,
        study,
        workers,
        callback,
        target=trials,
        storage=storage,
        trial_timeout=trial_timeout,
    )
    search.folder = folder
    started = time.monotonic()

    def deadline() -> float:
        return started + seconds - RESERVE * search.seconds_per_trial() * reserved_runs / jobs

    try:
        search.run(jobs, deadline, stop)
    finally:
        search.requeue_running()
    return search.progress.trials


class _Search(TrialLoop):
    """Trains new trials up to a number of finished ones."""

    folder: SearchFolder

    def is_done(self) -> bool:
        """Return whether enough trials are finished."""
        return self.progress.finished >= self.progress.target

    def has_work(self) -> bool:
        """Return whether the trials that are finished or run anywhere are too few."""
        running = sum(trial.state == "running" for trial in self.progress.trials)
        return self.progress.finished + running < self.progress.target

    def on_complete(self) -> None:
        """Update the best recipe."""
        self.folder.write_best_recipe(self.config, self.progress.trials)

    def seconds_per_trial(self) -> float:
        """Return the median training time of a complete trial; 0 before the first."""
        seconds = [t.seconds for t in self.progress.trials if t.state == "complete" and t.seconds]
        return statistics.median(seconds) if seconds else 0.0
