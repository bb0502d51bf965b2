"""The search: ask for values, have them trained, tell what came of it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import optuna
from optuna.trial import TrialState

from fashioncnn.config import override
from fashioncnn.errors import FashionCNNError, RunError
from fashioncnn.settings import Settings
from fashioncnn.tuning.study import Search, SearchFolder, Trial, ask, ended, lose, trials_of
from fashioncnn.tuning.workers import Event

MOST_ATTEMPTS = 3
"""So often a trial is begun whose worker dies: one that takes too much memory will again."""
MOST_STRANGE = 5
"""Trials in a row that failed for no reason of their own, and workers that died before their first:
then the fault is the machine's, and what is left is not burnt on it."""
PATIENCE = 0.2
"""Seconds until the search looks again whether it is to stop."""


class Workers(Protocol):
    """Who trains; see `fashioncnn.tuning.workers.Pool`."""

    def start(self, worker: int, settings: Settings) -> None:
        """Have a worker train."""

    def answer(self, worker: int, go_on: bool) -> None:
        """Answer an epoch."""

    def wait(self, seconds: float) -> list[Event]:
        """Return what was said."""


@dataclass
class State:
    """How the search stands, for who shows it.

    Attributes:
        trials: all of the folder, see `fashioncnn.tuning.study.trials_of`.
        wanted: how many are to end; infinite where only time counts.
        epochs: of a trial.
        began: when this call began, by `time.monotonic`.
        ended_before: how many had ended by then.
    """

    trials: list[Trial]
    wanted: float
    epochs: int
    began: float = field(default_factory=time.monotonic)
    ended_before: int = 0

    @property
    def ended(self) -> int:
        """How many trials have ended."""
        return sum(ended(trial) for trial in self.trials)


class Observer(Protocol):
    """Who is told how the search goes."""

    def show(self, state: State) -> None:
        """Time went by, or something happened."""

    def trial(self, trial: Trial, state: State) -> None:
        """A trial has ended, or was lost; see ``trial["state"]``."""


def run_search(
    search: Search,
    folder: SearchFolder,
    study: optuna.Study,
    workers: Workers,
    *,
    jobs: int,
    trials: float = math.inf,
    seconds: float = math.inf,
    observer: Observer,
    stop: Callable[[], FashionCNNError | None] = lambda: None,
) -> list[Trial]:
    """Search until so many trials of the folder have ended, or the time is up.

    Args:
        search: what.
        folder: held by this process.
        study: its study, without trials that a process before this one left.
        workers: who trains.
        jobs: trials at once.
        trials: how many are to have ended, those of earlier calls included.
        seconds: after which no more is waited for; trials still running are run again by the
            next call.
        observer: told how it goes.
        stop: asked all the time; an error that it returns is raised once all is written down.

    Returns:
        What became of every trial.

    Raises:
        RunError: the workers cannot load the data, or cannot train on this machine.
    """
    return _Running(search, folder, study, workers, jobs, trials, observer).run(seconds, stop)


class _Running:
    """A search that goes on."""

    def __init__(
        self,
        search: Search,
        folder: SearchFolder,
        study: optuna.Study,
        workers: Workers,
        jobs: int,
        wanted: float,
        observer: Observer,
    ) -> None:
        self.search, self.folder, self.study = search, folder, study
        self.workers, self.jobs, self.observer = workers, jobs, observer
        self.distributions = {k: p.distribution() for k, p in search.space.items()}
        self.running: dict[int, optuna.Trial] = {}
        self.strange = 0
        self.state = State(trials_of(study, search), wanted, search.settings.training.epochs)
        self.state.ended_before = self.state.ended

    def run(self, seconds: float, stop: Callable[[], FashionCNNError | None]) -> list[Trial]:
        """Search to the end."""
        try:
            while self.running or self.state.ended < self.state.wanted:
                reason = stop()
                if reason is not None:
                    raise reason
                left = self.state.began + seconds - time.monotonic()
                if left <= 0:
                    break
                self._fill()
                self.observer.show(self.state)
                events = self.workers.wait(min(PATIENCE, left))
                reason = stop()
                for event in events:
                    # What ends this process may have ended its workers, too.
                    if reason is None or event.kind != "died":
                        self._hear(event)
                if reason is not None:
                    raise reason
        finally:
            self._give_up()
        return self.state.trials

    def _fill(self) -> None:
        """Give every idle worker a trial, while more are wanted."""
        for worker in range(self.jobs):
            if self.state.ended + len(self.running) >= self.state.wanted:
                return
            if worker not in self.running:
                trial = ask(self.study, self.search, self.distributions)
                self.running[worker] = trial
                values = self.search.decode(trial.params)
                self.workers.start(worker, override(self.search.settings, values))
                self._look()

    def _hear(self, event: Event) -> None:
        if event.kind == "unfit":
            raise RunError(f"a worker cannot train: {event.content['reason']}")
        trial = self.running.get(event.worker)
        if trial is None or event.kind == "ready":
            return
        if event.kind == "epoch":
            self._after_epoch(event, trial)
            self._look()
        else:
            del self.running[event.worker]
            self._end(trial, event)
            self._look()
            told = {**self.state.trials[trial.number], "reason": event.content.get("reason")}
            self.observer.trial(told, self.state)
            self._count_strange(event)

    def _count_strange(self, event: Event) -> None:
        unborn = event.kind == "died" and not event.content.get("ready", True)
        if not unborn and not event.content.get("strange"):
            self.strange = 0
            return
        self.strange += 1
        if self.strange == MOST_STRANGE:
            raise RunError(
                f"{MOST_STRANGE} trials in a row could not be trained, the last: "
                f"{event.content['reason']}; mend that, and call again to go on"
            )

    def _after_epoch(self, event: Event, trial: optuna.Trial) -> None:
        epoch = event.content["epoch"]
        trial.report(event.content["val_loss"], epoch)
        last = epoch == self.search.settings.training.epochs
        self.workers.answer(event.worker, last or not trial.should_prune())

    def _end(self, trial: optuna.Trial, event: Event) -> None:
        """Write down what became of a trial. Its state comes last, for it seals the rest."""
        if event.kind == "died":
            self._after_death(trial, event)
            return
        for key in ("accuracy", "seconds", "reason"):
            if event.content.get(key) is not None:
                trial.set_user_attr(key, event.content[key])
        if event.kind == "done":
            self.study.tell(trial, event.content["loss"])
            self._look()
            self.folder.write_best(self.search, self.state.trials)
        else:
            pruned = event.kind == "pruned"
            self.study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)

    def _after_death(self, trial: optuna.Trial, event: Event) -> None:
        """Have it run again, unless it is to blame and was begun often enough."""
        attempt = trial.user_attrs.get("attempt", 1)
        to_blame = event.content.get("ready", True) and not event.content.get("asked")
        if attempt < MOST_ATTEMPTS or not to_blame:
            frozen = self.study.get_trials(deepcopy=False)[trial.number]
            lose(self.study, self.search, frozen, attempt=attempt + to_blame)
            return
        how = event.content["reason"]
        trial.set_user_attr("reason", f"its worker {how}, {attempt} times in all")
        self.study.tell(trial, state=TrialState.FAIL)

    def _give_up(self) -> None:
        """Lose what still runs; where that fails, the next call does it."""
        trials = self.study.get_trials(deepcopy=False)
        for trial in self.running.values():
            with contextlib.suppress(OSError):
                attempt = trial.user_attrs.get("attempt", 1)
                lose(self.study, self.search, trials[trial.number], attempt=attempt)
        self.running.clear()
        self._look()

    def _look(self) -> None:
        self.state.trials = trials_of(self.study, self.search, self.state.trials)
