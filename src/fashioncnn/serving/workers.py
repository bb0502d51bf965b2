"""Several processes that serve the same socket, each with its own model and decoders."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from fashioncnn.inference.predictor import Predictor
from fashioncnn.serving.logs import log, start_logging
from fashioncnn.serving.metrics import MULTIPROCESS_FOLDER, forget_process
from fashioncnn.serving.options import ServerOptions
from fashioncnn.serving.processes import SIGNALS, start_process
from fashioncnn.serving.run import serve

POLL_SECONDS = 0.2
RESTART_SECONDS = 1.0
"""A worker that ended is replaced at most this often, so that one that cannot start is no busy
loop."""
END_SECONDS = 10.0
"""Time for the workers to end after a signal, before they are killed."""


def serve_with_workers(
    load: Callable[[], Predictor],
    name: str,
    options: ServerOptions,
    listening: socket.socket,
    count: int,
) -> None:
    """Serve a model with several processes until SIGTERM or SIGINT; one that dies is replaced.

    Args:
        load: returns the predictor; it is pickled.
        name: of the model.
        options: of the service.
        listening: a socket that listens, shared by all workers.
        count: of workers.
    """
    with _metrics_folder(), _recorded_signals() as stop:
        listener = start_logging()
        try:
            workers = _Workers((load, name, options, listening), count)
            workers.run(stop)
            listening.close()  # so that no connection is accepted once the workers have closed it
            workers.end()
        finally:
            listener.stop()


class _Workers:
    """The processes; `arguments` are those of `run.serve`."""

    def __init__(self, arguments: tuple[object, ...], count: int) -> None:
        self._arguments = arguments
        self._context = multiprocessing.get_context("spawn")
        self._processes = [self._start() for _ in range(count)]

    def run(self, stop: threading.Event) -> None:
        """Replace workers that die, until `stop` is set."""
        while not stop.wait(POLL_SECONDS):
            for position, process in enumerate(self._processes):
                if process.exitcode is not None:
                    log("worker died", process=process.pid, exit_code=process.exitcode)
                    forget_process(process.pid or 0)
                    stop.wait(RESTART_SECONDS)
                    self._processes[position] = self._start()

    def end(self) -> None:
        """Let the workers answer what was accepted, and end."""
        for process in self._processes:
            process.terminate()
        limit = time.monotonic() + END_SECONDS
        for process in self._processes:
            process.join(max(0.0, limit - time.monotonic()))
            process.kill()
            process.join()

    def _start(self) -> BaseProcess:
        process = self._context.Process(target=_work, args=self._arguments)
        start_process(process, [signal.SIGINT])  # of a terminal: this process ends the workers
        log("worker started", process=process.pid)
        return process


def _work(
    load: Callable[[], Predictor],
    name: str,
    options: ServerOptions,
    listening: socket.socket,
) -> None:
    """Serve in this process until a signal, or until the parent ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(load, name, options, listening)


def _end_with_parent() -> None:
    """Drain if the parent was killed and cannot ask for it."""
    process = multiprocessing.parent_process()
    if process is not None:
        wait([process.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _metrics_folder() -> Iterator[None]:
    """Let the workers keep their metrics in files, which each of them adds up."""
    with tempfile.TemporaryDirectory(prefix="fashioncnn-metrics-") as folder:
        os.environ[MULTIPROCESS_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[MULTIPROCESS_FOLDER]


@contextlib.contextmanager
def _recorded_signals() -> Iterator[threading.Event]:
    """Yield an event that is set by SIGTERM and SIGINT."""
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
