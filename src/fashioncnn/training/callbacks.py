"""Who is told how training goes."""

from __future__ import annotations

from typing import Any, Protocol

from fashioncnn.training.loop import Progress

Record = dict[str, Any]
"""A line of history.jsonl."""


class Observer(Protocol):
    """Who wants to see training go on; all calls are quick or throttled by the observer."""

    def network(self, name: str, epochs: int) -> None:
        """Where there are teachers: which network is trained next, and for how long."""

    def begin(self, progress: Progress, images: int) -> None:
        """Training begins or goes on."""

    def step(self, progress: Progress) -> None:
        """A step is done."""

    def epoch(self, record: Record) -> None:
        """An epoch is done and judged."""


class Silent:
    """An observer that looks away."""

    def network(self, name: str, epochs: int) -> None:
        """See `Observer.network`."""

    def begin(self, progress: Progress, images: int) -> None:
        """See `Observer.begin`."""

    def step(self, progress: Progress) -> None:
        """See `Observer.step`."""

    def epoch(self, record: Record) -> None:
        """See `Observer.epoch`."""
