"""Workers that need no processes, and shortcuts for searches with them."""

import contextlib
import math
import multiprocessing
import os
import threading
from dataclasses import replace
from multiprocessing.connection import Connection
from types import SimpleNamespace

import numpy as np

from fashioncnn.errors import InterruptedRun
from fashioncnn.tuning.events import Event
from fashioncnn.tuning.journal import repair_journal
from fashioncnn.tuning.sampling import ask_trial
from fashioncnn.tuning.search import run_search
from fashioncnn.tuning.study import open_study, requeue_running_trials

TRIALS = 13
"""Trials of a search in a test: the random ones, and a few of TPE."""


def quadratic_loss(settings):
    """A loss with its minimum at learning rate 1e-3 and dropout 0.3."""
    distance = math.log10(settings.optimizer.learning_rate / 1e-3)
    return 0.2 + distance**2 + (settings.model.dropout - 0.3) ** 2


class FakeWorkers:
    """Workers that take one event per epoch and one for the result, and train nothing.

    Attributes:
        fault: returns the fields of an event instead of the next one, or None.
        started: settings of all trials so far.
    """

    def __init__(self, fault=lambda settings, epoch: None):
        self.fault = fault
        self.started = []
        self._epochs = {}
        self._unanswered = set()

    def start(self, worker, settings):
        assert worker not in self._epochs
        self._epochs[worker] = (settings, 0)
        self.started.append(settings)

    def kill(self, worker):
        del self._epochs[worker]

    def reply(self, worker, *, proceed):
        self._unanswered.remove(worker)
        if not proceed:
            self._epochs[worker] = (self._epochs[worker][0], None)

    def wait(self, seconds):
        return [self._next(worker) for worker in list(self._epochs)]

    def _next(self, worker):
        assert worker not in self._unanswered
        settings, epoch = self._epochs[worker]
        fault = self.fault(settings, epoch)
        result = {"accuracy": 0.5, "seconds": 1.0}
        loss = quadratic_loss(settings)
        if fault is None and epoch is not None and epoch < settings.training.epochs:
            self._epochs[worker] = (settings, epoch + 1)
            self._unanswered.add(worker)
            return Event(worker, "epoch", epoch=epoch + 1, loss=loss + 1 / (epoch + 1))
        del self._epochs[worker]
        if fault is not None:
            return Event(worker, **fault)
        if epoch is None:
            return Event(worker, "pruned", **result)
        return Event(worker, "complete", loss=loss, **result)


def fake_train_model(settings, dataset, *, callbacks, notify):
    """Stands in for `train_model`, with the losses of `FakeWorkers`."""
    loss = quadratic_loss(settings)
    for epoch in range(1, settings.training.epochs + 1):
        record = {"epoch": epoch, "val_loss": loss + 1 / epoch, "val_accuracy": 0.5}
        state = SimpleNamespace(evaluated={"val": logits_with_loss(loss + 1 / epoch)})
        for callback in callbacks:
            callback.on_epoch(state, record)
    logits, labels = logits_with_loss(loss)
    return SimpleNamespace(
        metrics={"validation": {"accuracy": 0.5}},
        predictions={"validation": SimpleNamespace(logits=logits, labels=labels)},
    )


def logits_with_loss(loss):
    """Logits of ten images, too few to calibrate, and labels with this cross-entropy."""
    odds = math.log(math.expm1(loss))
    return np.tile(np.float32([[0.0, odds]]), (10, 1)), np.zeros(10, np.uint8)


class RecordingCallback:
    """A callback that records the state of each ended trial."""

    def __init__(self):
        self.states = []

    def on_update(self, progress):
        pass

    def on_trial_end(self, trial, progress):
        self.states.append(trial.state)


def search_in(folder, config, workers=None, *, trials=TRIALS, jobs=1, callback=None, **options):
    """Open or resume the search in a folder, as a new process would."""
    folder.store_config(config)
    return run_search(
        config,
        folder,
        reopen(folder, config),
        workers or FakeWorkers(),
        jobs=jobs,
        trials=trials,
        callback=callback or RecordingCallback(),
        **options,
    )


def reopen(folder, config):
    """Return the study as a new process opens it."""
    repair_journal(folder.journal)
    study = open_study(folder, config)
    requeue_running_trials(study, config)
    return study


def stop_after(calls):
    """Return a function for `stop` that interrupts the search after so many calls."""
    remaining = iter([None] * calls)
    return lambda: next(remaining, InterruptedRun("interrupted"))


def finished_results(trials):
    return [(t.state, t.loss, t.parameters) for t in trials if t.is_finished]


def ask(study, config):
    return ask_trial(study, config, {k: p.distribution() for k, p in config.space.items()})


def complete_trials(study, config, n, loss=lambda trial: trial.params["model.dropout"]):
    """Complete the next `n` trials with these losses."""
    for _ in range(n):
        trial = ask(study, config)
        trial.report(loss(trial), 1)
        trial.set_user_attr("accuracy", 0.5)
        trial.set_user_attr("seconds", 1.0)
        study.tell(trial, loss(trial))


class ThreadContext:
    """Stands in for a context of multiprocessing: its processes are threads of this one."""

    @staticmethod
    def Pipe():  # noqa: N802
        return multiprocessing.Pipe()

    @staticmethod
    def Process(target, args, **_):  # noqa: N802
        pipe, task = args
        own_end = Connection(os.dup(pipe.fileno()))  # the pool closes its copy
        own_task = replace(task, search_pid=os.getppid())  # the check that the search is alive
        thread = threading.Thread(target=_run_and_close, args=(target, own_end, own_task))
        return SimpleNamespace(
            start=thread.start,
            join=thread.join,
            is_alive=thread.is_alive,
            terminate=lambda: None,
            exitcode=1,
        )


def _run_and_close(target, pipe, task):
    with contextlib.closing(pipe):
        target(pipe, task)
