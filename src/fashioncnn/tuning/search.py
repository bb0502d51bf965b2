"""The search: draw values, train them on workers, store the results."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace

import optuna
from optuna.trial import TrialState

from fashioncnn.config import override
from fashioncnn.errors import FashionCNNError, RunError
from fashioncnn.reporting.trials import Trial
from fashioncnn.tuning.config import SearchConfig
from fashioncnn.tuning.events import Event, Workers
from fashioncnn.tuning.folder import SearchFolder
from fashioncnn.tuning.progress import SearchCallback, SearchProgress
from fashioncnn.tuning.sampling import ask_trial
from fashioncnn.tuning.study import requeue_trial
from fashioncnn.tuning.trials import read_trials

MAX_ATTEMPTS = 3
"""Attempts at a trial whose worker dies, for example because it needs too much memory."""
MAX_UNEXPECTED_FAILURES = 5
"""Consecutive unexpected failures that end the search: the cause is then probably the machine."""
POLL_SECONDS = 0.2
"""Longest wait for events between two checks of `stop`."""


def run_search(
    config: SearchConfig,
    folder: SearchFolder,
    study: optuna.Study,
    workers: Workers,
    *,
    jobs: int,
    trials: float = math.inf,
    seconds: float = math.inf,
    callback: SearchCallback,
    stop: Callable[[], FashionCNNError | None] = lambda: None,
) -> list[Trial]:
    """Train trials until enough are finished or the time is up.

    Args:
        config: configuration of the search.
        folder: its folder, locked by this process.
        study: its study, without running trials.
        workers: workers numbered from 0 to `jobs` - 1.
        jobs: trials to train at a time.
        trials: number of finished trials, including those of earlier calls.
        seconds: time limit; trials running at its end are interrupted, and the next call trains
            them again.
        callback: reports the progress.
        stop: polled continuously; an error that it returns is raised after the results are stored.

    Returns:
        All trials of the study.

    Raises:
        RunError: a worker cannot load the data, or consecutive trials failed unexpectedly.
    """
    search = _Search(config, folder, study, workers, callback, trials)
    try:
        search.run(jobs, seconds, stop)
    finally:
        search.requeue_running()
    return search.progress.trials


class _Search:
    """The state of a running search.

    Attributes:
        running: the trial of each busy worker.
        unexpected_failures: number of consecutive ones, up to now.
        progress: what callbacks show.
    """

    def __init__(
        self,
        config: SearchConfig,
        folder: SearchFolder,
        study: optuna.Study,
        workers: Workers,
        callback: SearchCallback,
        target: float,
    ) -> None:
        self.config, self.folder, self.study = config, folder, study
        self.workers, self.callback = workers, callback
        self.distributions = {k: p.distribution() for k, p in config.space.items()}
        self.running: dict[int, optuna.Trial] = {}
        self.unexpected_failures = 0
        trials, epochs = read_trials(study, config), int(config.settings.training.epochs)
        self.progress = SearchProgress(trials, target, epochs)
        self.progress.finished_before = self.progress.finished

    def run(self, jobs: int, seconds: float, stop: Callable[[], FashionCNNError | None]) -> None:
        """Start trials and handle events until the target or the time limit is reached."""
        while self.running or self.progress.finished < self.progress.target:
            _raise_if(stop())
            remaining = self.progress.started + seconds - time.monotonic()
            if remaining <= 0:
                return
            self._start_trials(jobs)
            self.callback.on_update(self.progress)
            events = self.workers.wait(min(POLL_SECONDS, remaining))
            reason = stop()
            for event in events:
                # A signal that stops this process may have ended its workers, too.
                if reason is None or event.kind != "died":
                    self._handle(event)
            _raise_if(reason)

    def requeue_running(self) -> None:
        """Queue the running trials again; if that fails, the next process does it."""
        stored = self.study.get_trials(deepcopy=False)
        for trial in self.running.values():
            with contextlib.suppress(OSError):
                attempt = trial.user_attrs.get("attempt", 1)
                requeue_trial(self.study, self.config, stored[trial.number], attempt=attempt)
        self.running.clear()
        self._refresh()

    def _start_trials(self, jobs: int) -> None:
        """Start a trial on every idle worker, up to the target."""
        for worker in range(jobs):
            if self.progress.finished + len(self.running) >= self.progress.target:
                return
            if worker in self.running:
                continue
            trial = ask_trial(self.study, self.config, self.distributions)
            self.running[worker] = trial
            values = self.config.decode(trial.params)
            self.workers.start(worker, override(self.config.settings, values))
            self._refresh()

    def _handle(self, event: Event) -> None:
        if event.kind == "unusable":
            raise RunError(f"a worker cannot train: {event.reason}")
        trial = self.running.get(event.worker)
        if trial is None or event.kind == "ready":
            return
        if event.kind == "epoch":
            self._report_epoch(trial, event)
            return
        del self.running[event.worker]
        self._store_result(trial, event)
        self._refresh()
        result = replace(self.progress.trials[trial.number], reason=event.reason)
        self.callback.on_trial_end(result, self.progress)
        self._count_unexpected_failures(event)

    def _report_epoch(self, trial: optuna.Trial, event: Event) -> None:
        """Store the loss of an epoch, and continue or prune the trial."""
        trial.report(event.loss, event.epoch)
        is_last = event.epoch == self.progress.epochs
        self.workers.reply(event.worker, proceed=is_last or not trial.should_prune())
        self._refresh()

    def _store_result(self, trial: optuna.Trial, event: Event) -> None:
        """Store the result of a trial. The state comes last: it makes the result final."""
        if event.kind == "died":
            self._retry_or_fail(trial, event)
            return
        for key in ("accuracy", "seconds", "reason"):
            if getattr(event, key) is not None:
                trial.set_user_attr(key, getattr(event, key))
        if event.kind == "complete":
            self.study.tell(trial, event.loss)
            self._refresh()
            self.folder.write_best_recipe(self.config, self.progress.trials)
        else:
            state = TrialState.PRUNED if event.kind == "pruned" else TrialState.FAIL
            self.study.tell(trial, state=state)

    def _retry_or_fail(self, trial: optuna.Trial, event: Event) -> None:
        """Queue a trial again whose worker died, unless it caused that too often."""
        attempt = trial.user_attrs.get("attempt", 1)
        is_cause = event.was_ready and not event.was_terminated
        if attempt < MAX_ATTEMPTS or not is_cause:
            stored = self.study.get_trials(deepcopy=False)[trial.number]
            requeue_trial(self.study, self.config, stored, attempt=attempt + is_cause)
            return
        trial.set_user_attr("reason", f"its worker {event.reason}, in {attempt} attempts")
        self.study.tell(trial, state=TrialState.FAIL)

    def _count_unexpected_failures(self, event: Event) -> None:
        died_early = event.kind == "died" and not event.was_ready
        if not (died_early or event.unexpected):
            self.unexpected_failures = 0
            return
        self.unexpected_failures += 1
        if self.unexpected_failures == MAX_UNEXPECTED_FAILURES:
            raise RunError(
                f"{MAX_UNEXPECTED_FAILURES} consecutive trials failed unexpectedly, the last with: "
                f"{event.reason}; fix the cause, then run the same command to resume"
            )

    def _refresh(self) -> None:
        trials = read_trials(self.study, self.config, self.progress.trials)
        self.progress.trials = trials


def _raise_if(error: FashionCNNError | None) -> None:
    if error is not None:
        raise error
