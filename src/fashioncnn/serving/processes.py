"""Processes of the server, which a signal to the whole process group must not end.

Ctrl-C in a terminal, and some service managers, send a signal to all processes. Python would end
one that still imports with a traceback.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""By which the server is asked to end."""


def start_process(process: BaseProcess, blocked: Iterable[signal.Signals]) -> None:
    """Start a process in which signals wait until it handles or ignores them; see `ignore`.

    Args:
        process: of the start method ``spawn``.
        blocked: the signals.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        process.start()
        return
    # The first start of a process also starts this one, and would unblock the signals.
    resource_tracker.ensure_running()
    with _blocked(blocked):
        process.start()  # the mask is inherited


def ignore(signals: Iterable[signal.Signals]) -> None:
    """Ignore signals in this process; those that arrived before are dropped."""
    for number in signals:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


@contextlib.contextmanager
def _blocked(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Block signals in this thread; those that arrive in the block are handled after it."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
