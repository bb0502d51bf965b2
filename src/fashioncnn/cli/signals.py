"""Ctrl-C and SIGTERM: ask a training or a search to save and stop; end other work tidily."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from fashioncnn.errors import FashionCNNError, InterruptedRun, TerminatedRun


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into an error, so that what is half written is taken away.

    Raises:
        TerminatedRun: the signal came.
    """

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise TerminatedRun("terminated")

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class StopSignals:
    """While entered, the first SIGINT or SIGTERM is kept for `reason`; a second one kills."""

    def __init__(self, how_to_go_on: str, kept: str = "checkpoint saved") -> None:
        self.how_to_go_on, self.kept = how_to_go_on, kept
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
        self._restore()

    def reason(self) -> FashionCNNError | None:
        """Return the error to stop with, or None to go on."""
        if self.received is None:
            return None
        if self.received == signal.SIGTERM:
            return TerminatedRun(f"terminated, {self.kept}; {self.how_to_go_on}")
        return InterruptedRun(f"interrupted, {self.kept}; {self.how_to_go_on}")

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.received = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
