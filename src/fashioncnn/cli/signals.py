"""Signals and broken pipes: how a process that is interrupted ends."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from fashioncnn.errors import FashionCNNError, InterruptedRun, TerminatedRun


def prepare_streams() -> None:
    """Replace standard streams that are closed, and let output contain any file name."""
    if sys.stdin is None:  # closed by `<&-`; the lowest free descriptor is its own
        sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_stdout() -> None:
    """Discard what is still buffered, so that Python does not fail to flush it at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # not a file, as in tests
        return


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into an error, so that temporary files are removed.

    Raises:
        TerminatedRun: on SIGTERM.
    """

    def terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise TerminatedRun("terminated")

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class StopSignals:
    """Records the first SIGINT or SIGTERM as a request to stop; a second one kills the process.

    Args:
        resume_hint: how to resume, the end of the message.
        saved: what was saved, the middle of the message.
    """

    def __init__(self, resume_hint: str, saved: str = "checkpoint saved") -> None:
        self.resume_hint, self.saved = resume_hint, saved
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore_handlers()

    def reason(self) -> FashionCNNError | None:
        """Return the error to stop with; None if no signal was received."""
        if self.received is None:
            return None
        if self.received == signal.SIGTERM:
            return TerminatedRun(f"terminated, {self.saved}; {self.resume_hint}")
        return InterruptedRun(f"interrupted, {self.saved}; {self.resume_hint}")

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.received = number
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
