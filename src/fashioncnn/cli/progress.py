"""Progress on stderr: a live bar on a terminal; elsewhere, one line per epoch of training."""

from __future__ import annotations

import sys
import time

from fashioncnn.cli.console import note
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.progress import LiveBar, epoch_line, name_prefix
from fashioncnn.training.state import Record, TrainState


class EpochLines(Callback):
    """Prints one line per epoch."""

    def on_start(self, state: TrainState, images: int) -> None:  # noqa: ARG002
        """Start the clock."""
        self.first_epoch = state.progress.epoch
        self.started = time.monotonic()

    def on_epoch(self, state: TrainState, record: Record) -> None:
        """Print the metrics and the estimated remaining time."""
        done = record["epoch"] - self.first_epoch
        seconds = (time.monotonic() - self.started) / done * (state.epochs - record["epoch"])
        suffix = " for this network" if state.name else ""
        line = f"{name_prefix(state)}{epoch_line(record, state.epochs)}"
        note(f"{line}  {duration(seconds)} left{suffix}")

    def close(self) -> None:
        """Do nothing; see `LiveBar.close`."""


def make_progress() -> EpochLines | LiveBar:
    """Return a live bar if stderr is a terminal, else lines."""
    return LiveBar() if sys.stderr.isatty() else EpochLines()


def duration(seconds: float) -> str:
    """Return a duration as ``1:05``, or ``2:01:05`` if it is at least an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
