"""SIGINT and SIGTERM: the first one ends a command in an orderly way, a second one at once."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from fashioncnn.cli.ranks import are_several
from fashioncnn.errors import FashionCNNError, InterruptedRun, TerminatedRun

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

SIGNALS = (signal.SIGINT, signal.SIGTERM)
RETRY_SECONDS = 0.01


class Interrupt(KeyboardInterrupt):
    """A signal was received.

    Where `KeyboardInterrupt` itself passes through `exec`, Python kills the process with SIGINT at
    its end, whatever the exit code.
    """


class RaiseOnSignal:
    """Raises `Interrupt` at the first SIGINT or SIGTERM; a second one kills the process.

    The exception runs the cleanup of all context managers, so no temporary file remains. It is not
    an `Exception`, so no handler of other errors catches it.

    Args:
        ends_process: whether the process ends with the block. A signal during the shutdown of
            Python then ends it at once, without a traceback.

    Attributes:
        received: the signal, or None.
    """

    def __init__(self, *, ends_process: bool = False) -> None:
        self.ends_process = ends_process
        self.received: int | None = None
        self._previous: dict[int, Any] = {}
        self._previous_hook = sys.unraisablehook

    def __enter__(self) -> RaiseOnSignal:
        if threading.current_thread() is threading.main_thread():  # no other can set handlers
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._receive)
            self._previous_hook, sys.unraisablehook = sys.unraisablehook, self._on_unraisable
            if self.ends_process:  # registered first, so it is called last
                atexit.register(_ignore_signals)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._previous:
            return
        sys.unraisablehook = self._previous_hook
        if self.received is not None and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        if not self.ends_process:
            _restore(self._previous)
        elif self.received is None:
            _restore(dict.fromkeys(SIGNALS, _exit_now))

    def _receive(self, number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG002
        self.received = number
        _kill_at_next_signal()
        raise Interrupt

    def _on_unraisable(self, unraisable: UnraisableHookArgs) -> None:
        """Raise again what was raised in a destructor or a callback, where Python discards it."""
        is_ours = self.received is not None and issubclass(unraisable.exc_type, KeyboardInterrupt)
        if not is_ours or not hasattr(signal, "setitimer"):  # Windows has no timer
            self._previous_hook(unraisable)
            return
        signal.signal(signal.SIGALRM, _raise_interrupt)
        signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)


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
        for number in SIGNALS:
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.received is None:
            _restore(self._previous)

    def reason(self) -> FashionCNNError | None:
        """Return the error to stop with; None if no signal was received."""
        if self.received is None:
            return None
        if self.received == signal.SIGTERM:
            return TerminatedRun(f"terminated, {self.saved}; {self.resume_hint}")
        return InterruptedRun(f"interrupted, {self.saved}; {self.resume_hint}")

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.received = number
        _kill_at_next_signal()


def _kill_at_next_signal() -> None:
    """Let the system handle signals, which works even if Python waits for other code.

    `torchrun` passes on a signal that the terminal has sent to all processes, and kills them itself
    after 30 seconds: a second one is ignored.
    """
    _restore(dict.fromkeys(SIGNALS, signal.SIG_IGN if are_several() else signal.SIG_DFL))


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _raise_interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    raise Interrupt


def _ignore_signals() -> None:
    """Keep the exit code while Python frees its memory, during which it handles no signals."""
    _restore(dict.fromkeys(SIGNALS, signal.SIG_IGN))


def _exit_now(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    os._exit(128 + number)
