"""Progress on stderr: a live bar on a terminal; elsewhere, one line per epoch of training."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from fashioncnn.cli.console import note
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.state import Record, TrainState

REFRESH_SECONDS = 0.1


def epoch_line(record: Record, epochs: int) -> str:
    """Return the metrics of an epoch in one line.

    Args:
        record: of the history.
        epochs: of the whole training.
    """
    parts = [f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}"]
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        if record[f"{split}_loss"] is not None:
            loss, accuracy = record[f"{split}_loss"], record[f"{split}_accuracy"]
            parts.append(f"{name} {loss:.4f} {100 * accuracy:5.2f}%")
    parts.append(f"{record['images_per_second']:,.0f} img/s")
    return "  ".join(parts)


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
        note(
            f"{_prefix(state)}{epoch_line(record, state.epochs)}  {duration(seconds)} left{suffix}"
        )

    def close(self) -> None:
        """Do nothing; see `LiveBar.close`."""


class LiveBar(Callback):
    """Shows a bar on a terminal and prints one line per epoch above it."""

    def __init__(self) -> None:
        self.images = 1
        self.updated_at = 0.0
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[state]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.task = self.bar.add_task("training", total=1, state="")

    def on_start(self, state: TrainState, images: int) -> None:
        """Show the bar."""
        self.images = images
        completed = state.progress.epoch * images
        self.bar.update(self.task, total=state.epochs * images, completed=completed)
        self.bar.start()

    def on_step(self, state: TrainState) -> None:
        """Update the bar a few times per second."""
        now, progress = time.monotonic(), state.progress
        if now - self.updated_at < REFRESH_SECONDS or not progress.position:
            return
        self.updated_at = now
        progress.settle()
        text = (
            f"loss {progress.loss_sum / progress.position:.4f}  "
            f"{100 * progress.correct / progress.position:.1f}%  "
            f"{progress.position / max(progress.seconds, 1e-9):,.0f} img/s"
        )
        self.bar.update(
            self.task,
            description=f"{_prefix(state)}epoch {progress.epoch + 1}/{state.epochs}",
            completed=progress.epoch * self.images + progress.position,
            state=text,
        )

    def on_epoch(self, state: TrainState, record: Record) -> None:
        """Print the metrics above the bar."""
        line = f"{_prefix(state)}{epoch_line(record, state.epochs)}"
        self.bar.console.print(line, highlight=False)

    def close(self) -> None:
        """Remove the bar."""
        self.bar.stop()


def make_progress() -> EpochLines | LiveBar:
    """Return a live bar if stderr is a terminal, else lines."""
    return LiveBar() if sys.stderr.isatty() else EpochLines()


def image_bar() -> Progress:
    """Return a bar that shows the number of processed images and their rate."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        ImagesPerSecond(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
    )


class ImagesPerSecond(ProgressColumn):
    """The rate of processed images."""

    def render(self, task: Task) -> Text:
        """Return the rate; empty until it is known."""
        return Text(f"{task.speed:,.0f} images/s" if task.speed else "")


def duration(seconds: float) -> str:
    """Return a duration as ``1:05``, or ``2:01:05`` if it is at least an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _prefix(state: TrainState) -> str:
    return f"{state.name}  " if state.name else ""
