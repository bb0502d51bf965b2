"""A pool of worker processes, as the search sees it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from fashioncnn.settings import Settings
from fashioncnn.tuning.events import Event
from fashioncnn.tuning.worker import WorkerTask, run_worker

TERMINATION_SECONDS = 5.0
"""Time for a process to end after SIGTERM, before it is killed."""
TERMINATION_CODES = (-signal.SIGTERM, -signal.SIGINT)
"""Exit codes of a process that a user or the system ended on purpose."""


@dataclass
class WorkerPool:
    """Worker processes, started when they are first needed.

    Attributes:
        source: ``data.source`` of the settings.
        image_size: ``data.image_size`` of the settings.
        sha256: of the training split that every worker must load.
        loading: further arguments of `fashioncnn.data.load.load_dataset`.
    """

    source: str
    image_size: int | None
    sha256: str
    loading: dict[str, Any] = field(default_factory=dict)
    _workers: dict[int, tuple[SpawnProcess, Connection]] = field(default_factory=dict)
    _ready: set[int] = field(default_factory=set)

    def start(self, worker: int, settings: Settings) -> None:
        """Start a trial on a worker; start its process if there is none."""
        if worker not in self._workers:
            self._workers[worker] = self._spawn(worker)
        self._send(worker, settings)

    def reply(self, worker: int, *, proceed: bool) -> None:
        """Continue or prune a trial after an epoch."""
        self._send(worker, proceed)

    def wait(self, seconds: float) -> list[Event]:
        """Return new events; wait up to `seconds` for the first."""
        pipes = {worker: pipe for worker, (_, pipe) in self._workers.items()}
        readable = wait(list(pipes.values()), seconds)
        return [self._receive(worker, pipe) for worker, pipe in pipes.items() if pipe in readable]

    def kill(self, worker: int) -> None:
        """End a process, even one that ignores SIGTERM."""
        if worker in self._workers:
            process = self._forget(worker, self._workers[worker][1])
            process.kill()
            process.join(TERMINATION_SECONDS)

    def close(self) -> None:
        """End all processes, even within a training step."""
        for process, pipe in self._workers.values():
            pipe.close()
            process.terminate()
        for process, _ in self._workers.values():
            process.join(TERMINATION_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
        self._workers.clear()

    def _spawn(self, worker: int) -> tuple[SpawnProcess, Connection]:
        # With fork, the child would inherit the state of torch's thread pool and could deadlock.
        context = multiprocessing.get_context("spawn")
        parent_end, child_end = context.Pipe()
        task = WorkerTask(
            worker, self.source, self.image_size, self.sha256, os.getpid(), self.loading
        )
        process = context.Process(
            target=run_worker, args=(child_end, task), name=f"fashioncnn tune {worker}", daemon=True
        )
        with _sigint_blocked():
            process.start()
        child_end.close()
        return process, parent_end

    def _send(self, worker: int, message: Settings | bool) -> None:
        with contextlib.suppress(OSError):  # the process has just died, which `wait` reports
            self._workers[worker][1].send(message)

    def _receive(self, worker: int, pipe: Connection) -> Event:
        try:
            event: Event = pipe.recv()
        except (EOFError, OSError):
            return self._describe_death(worker, pipe)
        if event.kind == "ready":
            self._ready.add(worker)
        if event.unexpected:  # the process ends; the next trial gets a new one
            self._forget(worker, pipe)
        return event

    def _describe_death(self, worker: int, pipe: Connection) -> Event:
        was_ready = worker in self._ready
        process = self._forget(worker, pipe)
        process.join(TERMINATION_SECONDS)
        return Event(
            worker,
            "died",
            reason=_describe_exit(process.exitcode),
            was_ready=was_ready,
            was_terminated=process.exitcode in TERMINATION_CODES,
        )

    def _forget(self, worker: int, pipe: Connection) -> SpawnProcess:
        process, _ = self._workers.pop(worker)
        self._ready.discard(worker)
        pipe.close()
        return process


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block SIGINT, which a process started meanwhile inherits.

    A terminal sends SIGINT for Ctrl-C to all processes; only the search handles it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # The tracker would unblock SIGINT if it started with the first process.
    resource_tracker.ensure_running()
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
