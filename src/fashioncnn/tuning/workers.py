"""The processes that train: each loads the data once, and then a trial at a time.

They talk through pipes with the process that searches, and touch no file. One that is killed
closes its pipe, which the searcher sees at once; one whose searcher was killed sees it at its next
step. So neither waits for the other, whatever happens.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Literal

from fashioncnn.data.load import load_dataset
from fashioncnn.errors import FashionCNNError, OutOfMemoryError
from fashioncnn.settings import Settings
from fashioncnn.training.callbacks import Record
from fashioncnn.training.loop import Progress
from fashioncnn.training.run import train_model

SECONDS_TO_LEAVE = 5.0
"""After which a process that was asked to end is killed."""
ASKED = (-signal.SIGTERM, -signal.SIGINT)
"""Exit codes of a process that somebody ended on purpose."""


@dataclass(frozen=True)
class Event:
    """What a worker says.

    Attributes:
        worker: its number.
        kind: ``ready`` for trials; ``epoch`` is done, and an answer waited for; the trial is
            ``done``, ``pruned`` or ``failed``; the worker ``died``, or is ``unfit`` for any trial.
        content: the epoch's record, what the trial came to, or a reason. Of a failure that may not
            be the trial's own ``strange`` is true; of a death ``ready``, whether it ever was, and
            ``asked``, whether somebody ended it on purpose.
    """

    worker: int
    kind: Literal["ready", "epoch", "done", "pruned", "failed", "died", "unfit"]
    content: dict[str, Any]


@dataclass
class Pool:
    """Worker processes, begun when they are first needed.

    Attributes:
        source: of the data, as settings have it.
        image_size: likewise.
        sha256: of the training part that all have to find there.
    """

    source: str
    image_size: int | None
    sha256: str
    _workers: dict[int, tuple[SpawnProcess, Connection]] = field(default_factory=dict)
    _ready: set[int] = field(default_factory=set)

    def start(self, worker: int, settings: Settings) -> None:
        """Have a worker train by `settings`; it is begun where there is none."""
        if worker not in self._workers:
            self._workers[worker] = self._begin(worker)
        with contextlib.suppress(OSError):  # it died this instant, which `wait` will tell
            self._workers[worker][1].send(settings)

    def answer(self, worker: int, go_on: bool) -> None:
        """Answer an epoch."""
        with contextlib.suppress(OSError):
            self._workers[worker][1].send(go_on)

    def wait(self, seconds: float) -> list[Event]:
        """Return what was said, after `seconds` at most."""
        pipes = {worker: pipe for worker, (_, pipe) in self._workers.items()}
        said = wait(list(pipes.values()), seconds)
        return [self._hear(worker, pipe) for worker, pipe in pipes.items() if pipe in said]

    def close(self) -> None:
        """End all workers, in the middle of a step where they are in one."""
        for process, pipe in self._workers.values():
            pipe.close()
            process.terminate()
        for process, _ in self._workers.values():
            process.join(SECONDS_TO_LEAVE)
            if process.is_alive():
                process.kill()
                process.join()
        self._workers.clear()

    def _begin(self, worker: int) -> tuple[SpawnProcess, Connection]:
        # A forked process would share torch's threads with this one, and hang.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = theirs, self.source, self.image_size, self.sha256, os.getpid()
        process = context.Process(
            target=work, args=arguments, name=f"fashioncnn tune {worker}", daemon=True
        )
        with _no_interrupts():
            process.start()
        theirs.close()
        return process, ours

    def _hear(self, worker: int, pipe: Connection) -> Event:
        try:
            kind, content = pipe.recv()
        except (EOFError, OSError):
            process, ready = self._workers.pop(worker)[0], worker in self._ready
            self._ready.discard(worker)
            process.join(SECONDS_TO_LEAVE)
            pipe.close()
            code = process.exitcode
            told = {"reason": _how_it_ended(code), "ready": ready, "asked": code in ASKED}
            return Event(worker, "died", told)
        if kind == "ready":
            self._ready.add(worker)
        if content.get("strange"):  # it is not asked again: the next trial gets a fresh one
            self._workers.pop(worker)
            self._ready.discard(worker)
            pipe.close()
        return Event(worker, kind, content)


def work(pipe: Connection, source: str, image_size: int | None, sha256: str, searcher: int) -> None:
    """Load the data, then train by what comes through the pipe, until it is closed."""
    try:
        # Without its test part, which no trial can so read.
        dataset = replace(load_dataset(source, image_size=image_size, offline=True), test=None)
        if dataset.train.sha256 != sha256:
            raise FashionCNNError(f"{source}: changed while it was searched on")
    except FashionCNNError as error:
        pipe.send(("unfit", {"reason": str(error)}))
        return
    with contextlib.suppress(EOFError, OSError, _Gone):
        pipe.send(("ready", {}))
        strange = False
        while not strange:
            kind, told = _train(pipe.recv(), dataset, _Teller(pipe, searcher))
            strange = told.get("strange", False)
            pipe.send((kind, told))


class _Pruned(Exception):  # noqa: N818
    """The searcher wants no more epochs of this trial."""


class _Gone(Exception):  # noqa: N818
    """The searcher is no more, or wants no more."""


class _Teller:
    """An observer that tells the searcher about every epoch, and asks whether to go on."""

    def __init__(self, pipe: Connection, searcher: int) -> None:
        self.pipe, self.searcher = pipe, searcher
        self.accuracy: float | None = None
        self.waited = 0.0

    def network(self, name: str, epochs: int) -> None:
        """See `Observer.network`."""

    def begin(self, progress: Progress, images: int) -> None:
        """See `Observer.begin`."""

    def step(self, progress: Progress) -> None:  # noqa: ARG002
        """Leave where the searcher was killed: nobody waits for this trial."""
        if os.getppid() != self.searcher:
            raise _Gone

    def epoch(self, record: Record) -> None:
        """See `Observer.epoch`."""
        self.accuracy = record["val_accuracy"]
        began = time.perf_counter()
        try:
            self.pipe.send(("epoch", {k: record[k] for k in ("epoch", "val_loss", "val_accuracy")}))
            wanted = self.pipe.recv()
        except (EOFError, OSError):
            raise _Gone from None
        self.waited += time.perf_counter() - began
        if not wanted:
            raise _Pruned


def _train(settings: Settings, dataset: Any, teller: _Teller) -> tuple[str, dict[str, Any]]:
    """Return what a trial came to, and what is to be told of it; its seconds without waiting."""
    began = time.perf_counter()
    told: dict[str, Any] = {}
    try:
        judged = train_model(settings, dataset, observer=teller).metrics["validation"]
        kind, told["loss"], told["accuracy"] = "done", judged["loss"], judged["accuracy"]
        if not math.isfinite(told["loss"]):
            kind, told = "failed", {"reason": f"the validation loss became {told['loss']}"}
    except _Pruned:
        kind, told["accuracy"] = "pruned", teller.accuracy
    except _Gone:
        raise
    except OutOfMemoryError as error:  # which others may have taken: no fault of the values
        kind, told = "failed", {"reason": str(error), "strange": True}
    except FashionCNNError as error:
        kind, told["reason"] = "failed", str(error)
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        kind, told = "failed", {"reason": f"{type(error).__name__}: {lines[0]}", "strange": True}
    return kind, {**told, "seconds": time.perf_counter() - began - teller.waited}


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended with {code}"


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Begin a process so that Ctrl-C, which a terminal sends to all, is the searcher's alone."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which unblocks them when it begins with the first process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
