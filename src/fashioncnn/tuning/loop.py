"""The loop of a search: start trials on workers, handle their events, store the results."""

from __future__ import annotations

import contextlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import optuna
from optuna.trial import TrialState

from fashioncnn.errors import FashionCNNError, RunError
from fashioncnn.settings import Settings
from fashioncnn.tuning.config import SearchConfig
from fashioncnn.tuning.events import Event, Workers
from fashioncnn.tuning.progress import SearchCallback, SearchProgress
from fashioncnn.tuning.sampling import ask_trial
from fashioncnn.tuning.storage import Storage
from fashioncnn.tuning.study import requeue_trial
from fashioncnn.tuning.trials import read_trials

MAX_ATTEMPTS = 3
"""Attempts at a trial whose worker dies, for example because it needs too much memory."""
MAX_UNEXPECTED_FAILURES = 5
"""Consecutive unexpected failures that end the search: the cause is then probably the machine."""
POLL_SECONDS = 0.2
"""Longest wait for events between two checks of `stop`."""
SHARED_POLL_SECONDS = 2.0
"""Time between two looks for a trial in a shared storage that had none."""
TAKEN_OVER = "was not heard of by the database in time"

StopReason = Callable[[], FashionCNNError | None]


@dataclass
class RunningTrial:
    """A trial on a worker.

    Attributes:
        trial: of the study.
        sign: `time.monotonic` of the last sign of life.
        is_ours: whether its results are stored; not after another process took it over.
    """

    trial: optuna.Trial
    sign: float
    is_ours: bool = True


class TrialLoop(ABC):
    """Trains trials of a study on workers; subclasses say which.

    Attributes:
        running: the trial of each busy worker.
        trial_timeout: seconds without a sign of life after which a trial fails.
        unexpected_failures: number of consecutive ones, up to now.
        progress: what callbacks show.
    """

    def __init__(
        self,
        config: SearchConfig,
        study: optuna.Study,
        workers: Workers,
        callback: SearchCallback,
        *,
        target: float = math.inf,
        storage: Storage | None = None,
        trial_timeout: float = math.inf,
    ) -> None:
        self.config, self.study = config, study
        self.workers, self.callback = workers, callback
        self.storage, self.trial_timeout = storage or Storage(), trial_timeout
        self.distributions = {k: p.distribution() for k, p in config.space.items()}
        self.running: dict[int, RunningTrial] = {}
        self.unexpected_failures = 0
        self._next_look = -math.inf
        trials, epochs = read_trials(study, config), int(config.settings.training.epochs)
        self.progress = SearchProgress(trials, target, epochs)
        self.progress.finished_before = self.progress.finished

    @abstractmethod
    def is_done(self) -> bool:
        """Return whether no further trial is needed."""

    @abstractmethod
    def has_work(self) -> bool:
        """Return whether another trial should start now."""

    def settings_of(self, trial: optuna.Trial) -> Settings:
        """Return the settings that a trial trains with."""
        return self.config.trial_settings(trial.params)

    def on_complete(self) -> None:  # noqa: B027 - a hook, not needed by all
        """Called when a trial is complete and stored."""

    def run(self, jobs: int, deadline: Callable[[], float], stop: StopReason) -> None:
        """Start trials and handle events until all are done, or the deadline (`time.monotonic`)."""
        while self.running or not self.is_done():
            _raise_if(stop())
            now = time.monotonic()
            remaining = deadline() - now
            if remaining <= 0:
                return
            self._start_trials(jobs, now)
            self.callback.on_update(self.progress)
            events = self.workers.wait(min(POLL_SECONDS, remaining))
            reason = stop()
            for event in (*events, *self._hanging_workers(events, now)):
                # A signal that stops this process may have ended its workers, too.
                if reason is None or event.kind != "died":
                    self._handle(event, now)
            _raise_if(reason)

    def requeue_running(self) -> None:
        """Queue the running trials again; if that fails, the next process does it."""
        with contextlib.suppress(*self.storage.failures), self.storage.lock():
            stored = self.study.get_trials(deepcopy=False)
            for running in self.running.values():
                self.storage.ended(running.trial)
                if running.is_ours and stored[running.trial.number].state == TrialState.RUNNING:
                    attempt = running.trial.user_attrs.get("attempt", 1)
                    requeue_trial(
                        self.study, self.config, stored[running.trial.number], attempt=attempt
                    )
        self.running.clear()
        with contextlib.suppress(*self.storage.failures):
            self._refresh()

    def _start_trials(self, jobs: int, now: float) -> None:
        """Start a trial on every idle worker while there is work."""
        for worker in range(jobs):
            if worker in self.running or now < self._next_look:
                continue
            trial = self._claim()
            if trial is None:
                self._next_look = now + SHARED_POLL_SECONDS if self.storage.is_shared else now
                return
            self.running[worker] = RunningTrial(trial, now)
            self.storage.started(trial)
            self.workers.start(worker, self.settings_of(trial))
            self._refresh()

    def _claim(self) -> optuna.Trial | None:
        """Return the next trial; None if there is no work."""
        with self.storage.lock():
            if self.storage.is_shared:
                self.storage.recover(self.study, self.config)
                self._refresh()
            if not self.has_work():
                return None
            return ask_trial(self.study, self.config, self.distributions)

    def _hanging_workers(self, events: list[Event], now: float) -> list[Event]:
        """Kill the workers without a sign of life for too long, and return their failures."""
        alive = {event.worker for event in events}
        hanging = [
            worker
            for worker, running in self.running.items()
            if now - running.sign > self.trial_timeout and worker not in alive
        ]
        for worker in hanging:
            self.workers.kill(worker)
        reason = f"no progress for {self.trial_timeout:.0f} s (--trial-timeout), killed"
        return [Event(worker, "failed", reason=reason, unexpected=True) for worker in hanging]

    def _handle(self, event: Event, now: float) -> None:
        if event.kind == "unusable":
            raise RunError(f"a worker cannot train: {event.reason}")
        running = self.running.get(event.worker)
        if running is None:
            return
        running.sign = now
        if event.kind in ("ready", "progress"):
            return
        has_ended = event.kind != "epoch"
        if has_ended:
            del self.running[event.worker]
            self.storage.ended(running.trial)
        if running.is_ours:
            self._store(running, event)
        elif not has_ended:
            self.workers.reply(event.worker, proceed=False)
        if has_ended:
            self._count_unexpected_failures(event)

    def _store(self, running: RunningTrial, event: Event) -> None:
        """Store an event, unless another process took the trial over."""
        trial = running.trial
        try:
            if event.kind == "epoch":
                self._report_epoch(trial, event)
                return
            self._store_result(trial, event)
            result_reason = event.reason
        except optuna.exceptions.UpdateFinishedTrialError:
            running.is_ours, result_reason = False, TAKEN_OVER
            self.storage.ended(trial)
            if event.kind == "epoch":
                self.workers.reply(event.worker, proceed=False)
        self._refresh()
        result = replace(self.progress.trials[trial.number], reason=result_reason)
        self.callback.on_trial_end(result, self.progress)

    def should_prune(self, trial: optuna.Trial) -> bool:
        """Return whether a trial stops after the epoch that was reported last."""
        return trial.should_prune()

    def _report_epoch(self, trial: optuna.Trial, event: Event) -> None:
        """Store the loss of an epoch, and continue or prune the trial."""
        trial.report(event.loss, event.epoch)
        is_last = event.epoch == self.progress.epochs
        self.workers.reply(event.worker, proceed=is_last or not self.should_prune(trial))
        if not self.storage.is_shared:  # which would take many queries
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
            self.on_complete()
        else:
            state = TrialState.PRUNED if event.kind == "pruned" else TrialState.FAIL
            self.study.tell(trial, state=state)

    def _retry_or_fail(self, trial: optuna.Trial, event: Event) -> None:
        """Queue a trial again whose worker died, unless it caused that too often."""
        attempt = trial.user_attrs.get("attempt", 1)
        is_cause = event.was_ready and not event.was_terminated
        if attempt < MAX_ATTEMPTS or not is_cause:
            with self.storage.lock():
                stored = self.study.get_trials(deepcopy=False)[trial.number]
                if stored.state == TrialState.RUNNING:
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
