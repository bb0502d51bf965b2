"""Finalists: the best trials, trained again with other seeds before one of them is chosen.

The lowest of many losses with one seed each is biased: it is partly luck. Means over new seeds are
not, apart from the choice among few.
"""

from __future__ import annotations

import math
import time

import optuna
from optuna.trial import TrialState

from fashioncnn.config import override
from fashioncnn.reporting.trials import Finalist, Trial, rank_trials
from fashioncnn.settings import Settings
from fashioncnn.tuning.config import SearchConfig
from fashioncnn.tuning.events import Workers
from fashioncnn.tuning.loop import StopReason, TrialLoop
from fashioncnn.tuning.progress import SearchCallback
from fashioncnn.tuning.sampling import FINALIST_OF, SEED
from fashioncnn.tuning.space import encode_parameters
from fashioncnn.tuning.storage import Storage

SEEDS = 2**32
"""Number of seeds; after the largest one comes 0."""


def run_finalists(
    config: SearchConfig,
    study: optuna.Study,
    trials: list[Trial],
    workers: Workers,
    *,
    finalists: int,
    seeds: int,
    jobs: int,
    seconds: float = math.inf,
    trial_timeout: float = math.inf,
    callback: SearchCallback,
    stop: StopReason = lambda: None,
    storage: Storage | None = None,
) -> None:
    """Train the best trials again, each with `seeds` seeds that follow the seed of the recipe.

    Args:
        config: configuration of the search.
        study: the study of the finalists, not that of the search.
        trials: of the search.
        workers: workers numbered from 0 to `jobs` - 1.
        finalists: number of trials.
        seeds: trainings of each.
        jobs: trainings at a time.
        seconds: time limit; the next call continues.
        trial_timeout: seconds without progress after which a training is killed and fails.
        callback: reports the progress.
        stop: polled continuously; an error that it returns is raised after the results are stored.
        storage: of the study; by default a journal.

    Raises:
        RunError: a worker cannot load the data, or consecutive trainings failed unexpectedly.
    """
    storage = storage or Storage()
    with storage.lock():
        queue_finalists(study, config, rank_trials(trials)[:finalists], seeds)
    loop = _Finals(config, study, workers, callback, storage=storage, trial_timeout=trial_timeout)
    loop.progress.target = sum(t.state != "interrupted" for t in loop.progress.trials)
    deadline = time.monotonic() + seconds
    try:
        loop.run(jobs, lambda: deadline, stop)
    finally:
        loop.requeue_running()


def queue_finalists(
    study: optuna.Study, config: SearchConfig, finalists: list[Trial], seeds: int
) -> None:
    """Queue the trainings that the study does not contain yet; holding the lock of the storage."""
    first = int(config.settings.training.seed) + 1
    following = [seed % SEEDS for seed in range(first, first + seeds)]
    contained = {(t.user_attrs.get(FINALIST_OF), t.user_attrs.get(SEED)) for t in study.trials}
    for seed in following:
        for trial in finalists:
            if (trial.number, seed) not in contained:
                values = encode_parameters(trial.parameters, config.space)
                study.enqueue_trial(values, user_attrs={FINALIST_OF: trial.number, SEED: seed})


def read_finalists(study: optuna.Study, trials: list[Trial]) -> list[Finalist]:
    """Return the finalists with their losses so far, by increasing mean of these.

    Finalists of which a training failed, or is still missing, come last.
    """
    runs = study.get_trials(deepcopy=False)
    numbers = dict.fromkeys(run.user_attrs.get(FINALIST_OF) for run in runs)
    known = {trial.number: trial for trial in trials}
    finalists = [
        _read_finalist(known[number], [r for r in runs if r.user_attrs[FINALIST_OF] == number])
        for number in numbers
        if number in known
    ]
    return sorted(finalists, key=lambda f: (not f.is_complete, f.mean_loss, f.trial.number))


def _read_finalist(trial: Trial, runs: list[optuna.trial.FrozenTrial]) -> Finalist:
    complete = [run for run in runs if run.state == TrialState.COMPLETE]
    failed = [run for run in runs if run.state == TrialState.FAIL and "reason" in run.user_attrs]
    by_seed = sorted(complete, key=lambda run: int(run.user_attrs[SEED]))
    return Finalist(
        trial=trial,
        losses=tuple(float(run.value) for run in by_seed if run.value is not None),
        accuracies=tuple(float(run.user_attrs["accuracy"]) for run in by_seed),
        seeds=len({run.user_attrs[SEED] for run in runs}),
        failed=len(failed),
    )


class _Finals(TrialLoop):
    """Trains the queue of a study to its end."""

    def is_done(self) -> bool:
        """Return whether every queued training is finished, here or on other machines."""
        return not any(t.state in ("waiting", "running") for t in self.progress.trials)

    def has_work(self) -> bool:
        """Return whether a training waits."""
        return any(trial.state == "waiting" for trial in self.progress.trials)

    def settings_of(self, trial: optuna.Trial) -> Settings:
        """Return the settings of the finalist with the seed of this training."""
        return override(super().settings_of(trial), {"training.seed": trial.user_attrs[SEED]})

    def should_prune(self, trial: optuna.Trial) -> bool:  # noqa: ARG002
        """Train all of them to the end: a pruned one has no loss."""
        return False
