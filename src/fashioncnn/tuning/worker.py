"""A worker process: loads the data once, then trains one trial after another.

It writes no files and exchanges events with the search through a pipe. If it dies, the pipe closes,
which the search notices at once; if the search dies, the worker notices at its next step.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any

from fashioncnn.data.dataset import Dataset
from fashioncnn.data.load import load_dataset
from fashioncnn.data.options import ignore
from fashioncnn.devices import configure_process
from fashioncnn.errors import FashionCNNError, OutOfMemoryError
from fashioncnn.evaluation.calibration import calibrated_loss
from fashioncnn.settings import Settings
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.run import train_model
from fashioncnn.training.state import Record, TrainState
from fashioncnn.tuning.events import Event

SIGN_SECONDS = 5.0
"""Time between signs of life within an epoch."""


@dataclass(frozen=True)
class WorkerTask:
    """What a worker process is started with.

    Attributes:
        worker: its number.
        source: ``data.source`` of the settings.
        image_size: ``data.image_size`` of the settings.
        sha256: expected SHA-256 of the training split.
        search_pid: process id of the search.
        loading: further arguments of `fashioncnn.data.load.load_dataset`.
    """

    worker: int
    source: str
    image_size: int | None
    sha256: str
    search_pid: int
    loading: dict[str, Any] = field(default_factory=dict)


def run_worker(pipe: Connection, task: WorkerTask) -> None:
    """Load the data, then train the settings received from the pipe until it is closed."""
    try:
        dataset = _load_training_data(task)
    except FashionCNNError as error:
        pipe.send(Event(task.worker, "unusable", reason=str(error)))
        return
    with contextlib.suppress(EOFError, OSError, SearchEnded):
        pipe.send(Event(task.worker, "ready"))
        unexpected = False
        while not unexpected:  # an unexpected failure may have left the process in a bad state
            settings: Settings = pipe.recv()
            configure_process(settings.runtime.threads)
            event = train_trial(settings, dataset, TrialCallback(pipe, task))
            unexpected = event.unexpected
            pipe.send(event)


class TrialPruned(Exception):  # noqa: N818
    """The search pruned this trial."""


class SearchEnded(Exception):  # noqa: N818
    """The search has ended, or does not need this worker any more."""


class TrialCallback(Callback):
    """Sends every epoch to the search and waits for its reply.

    Attributes:
        accuracy: validation accuracy of the last epoch.
        waiting_seconds: total time of waiting for replies.
        sent: `time.monotonic` of the last event.
    """

    def __init__(self, pipe: Connection, task: WorkerTask) -> None:
        self.pipe, self.task = pipe, task
        self.accuracy: float | None = None
        self.waiting_seconds = 0.0
        self.sent = time.monotonic()

    def on_start(self, state: TrainState, images: int) -> None:  # noqa: ARG002
        """Send a sign of life."""
        self._send_sign()

    def on_step(self, state: TrainState) -> None:  # noqa: ARG002
        """Stop training if the search has died; send a sign of life from time to time."""
        if os.getppid() != self.task.search_pid:
            raise SearchEnded
        if time.monotonic() - self.sent >= SIGN_SECONDS:
            self._send_sign()

    def on_epoch(self, state: TrainState, record: Record) -> None:
        """Send the validation loss; stop training if the search prunes the trial."""
        self.accuracy = record["val_accuracy"]
        loss = calibrated_loss(*state.evaluated["val"])
        event = Event(
            self.task.worker, "epoch", epoch=record["epoch"], loss=loss, accuracy=self.accuracy
        )
        start = time.perf_counter()
        try:
            self.pipe.send(event)
            proceed = self.pipe.recv()
        except (EOFError, OSError):
            raise SearchEnded from None
        self.waiting_seconds += time.perf_counter() - start
        self.sent = time.monotonic()
        if not proceed:
            raise TrialPruned

    def _send_sign(self) -> None:
        self.sent = time.monotonic()
        try:
            self.pipe.send(Event(self.task.worker, "progress"))
        except OSError:
            raise SearchEnded from None


def train_trial(settings: Settings, dataset: Dataset, callback: TrialCallback) -> Event:
    """Train a trial and return its result as an event.

    Raises:
        SearchEnded: the search ended meanwhile.
    """
    start = time.perf_counter()
    event = _train(settings, dataset, callback)
    return replace(event, seconds=time.perf_counter() - start - callback.waiting_seconds)


def _load_training_data(task: WorkerTask) -> Dataset:
    """Return the dataset without its test split, so that no trial can use it."""
    # The search has loaded the same files, and has reported what it skipped.
    loading = {**task.loading, "skip_broken": True}
    dataset = load_dataset(
        task.source, image_size=task.image_size, offline=True, notify=ignore, **loading
    )
    if dataset.training_sha256 != task.sha256:
        raise FashionCNNError(f"{task.source}: changed since the search started")
    return replace(dataset, test=None)


def _train(settings: Settings, dataset: Dataset, callback: TrialCallback) -> Event:
    worker = callback.task.worker
    try:
        result = train_model(settings, dataset, callbacks=[callback], notify=ignore)
    except TrialPruned:
        return Event(worker, "pruned", accuracy=callback.accuracy)
    except SearchEnded:
        raise
    except OutOfMemoryError as error:  # other processes may have used the memory
        return Event(worker, "failed", reason=str(error), unexpected=True)
    except FashionCNNError as error:
        return Event(worker, "failed", reason=str(error))
    except Exception as error:
        first_line = (str(error).strip().splitlines() or [""])[0]
        reason = f"{type(error).__name__}: {first_line}"
        return Event(worker, "failed", reason=reason, unexpected=True)
    validation = result.predictions["validation"]
    loss = calibrated_loss(validation.logits, validation.labels)
    accuracy = result.metrics["validation"]["accuracy"]
    if not math.isfinite(loss):
        return Event(worker, "failed", reason=f"validation loss = {loss}")
    return Event(worker, "complete", loss=loss, accuracy=accuracy)
