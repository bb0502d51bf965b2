"""A thread for calls that may be slow or fail, so that the training neither waits nor fails."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Background:
    """Makes calls in their order in a thread; after the first failure it drops all others.

    Attributes:
        failure: why; None while all calls succeed.
    """

    def __init__(self, name: str) -> None:
        self.failure: str | None = None
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        # A daemon: a server that does not answer must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function later; returns at once."""
        if self.failure is None:
            self._calls.put((function, arguments))

    def close(self, seconds: float) -> None:
        """Wait up to `seconds` for the calls that are left."""
        self._calls.put(None)
        deadline = time.monotonic() + seconds
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive() and self.failure is None:
            self.failure = f"no answer within {seconds:.0f} s"

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            if self.failure is not None:
                continue
            function, arguments = call
            try:
                function(*arguments)
            except Exception as error:  # of any library, and none of them is worth a training
                lines = str(error).strip().splitlines()
                self.failure = lines[0] if lines else type(error).__name__
