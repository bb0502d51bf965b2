"""What the search and its workers exchange."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from fashioncnn.settings import Settings


@dataclass(frozen=True)
class Event:
    """A message from a worker, or about its end.

    Attributes:
        worker: number of the worker.
        kind: ``ready``: the worker has loaded the data. ``epoch``: an epoch is done, and the worker
            waits for `Workers.reply`. ``progress``: the trial goes on. ``complete``, ``pruned`` or
            ``failed``: the trial has ended. ``died``: the process has ended. ``unusable``: the
            worker cannot train any trial.
        epoch: epochs done, from 1.
        loss: calibrated validation loss.
        accuracy: validation accuracy, from 0 to 1.
        seconds: training time of the trial, without waiting for replies.
        reason: why the trial failed, the process ended or the worker is unusable.
        unexpected: whether a failure may have other causes than the trial's settings.
        was_ready: of a process that ended, whether it had loaded the data.
        was_terminated: of a process that ended, whether SIGINT or SIGTERM ended it.
    """

    worker: int
    kind: Literal["ready", "epoch", "progress", "complete", "pruned", "failed", "died", "unusable"]
    epoch: int = 0
    loss: float = math.nan
    accuracy: float | None = None
    seconds: float | None = None
    reason: str | None = None
    unexpected: bool = False
    was_ready: bool = True
    was_terminated: bool = False


class Workers(Protocol):
    """Workers that train trials; `fashioncnn.tuning.pool.WorkerPool` runs them as processes."""

    def start(self, worker: int, settings: Settings) -> None:
        """Start a trial on an idle worker."""

    def reply(self, worker: int, *, proceed: bool) -> None:
        """Continue or prune a trial after an epoch."""

    def kill(self, worker: int) -> None:
        """End a worker at once; the next trial gets a new one."""

    def wait(self, seconds: float) -> list[Event]:
        """Return new events; wait up to `seconds` for the first."""
