"""Progress on stderr: a live bar on a terminal; elsewhere, one line per epoch of training."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

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
from fashioncnn.training.loop import Progress as TrainingProgress

REFRESH_SECONDS = 0.1


def epoch_line(record: dict[str, Any], epochs: int) -> str:
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


class EpochLines:
    """An observer that prints one line per epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.network_name = ""
        self.started = time.monotonic()
        self.first_epoch = 0

    def network(self, name: str, epochs: int) -> None:
        """See `Observer.network`."""
        self.network_name, self.epochs = name, epochs

    def begin(self, progress: TrainingProgress, images: int) -> None:  # noqa: ARG002
        """See `Observer.begin`."""
        self.first_epoch = progress.epoch
        self.started = time.monotonic()

    def step(self, progress: TrainingProgress) -> None:
        """See `Observer.step`."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Print the metrics and the estimated remaining time."""
        done = record["epoch"] - self.first_epoch
        seconds = (time.monotonic() - self.started) / done * (self.epochs - record["epoch"])
        prefix = f"{self.network_name}  " if self.network_name else ""
        suffix = " for this network" if self.network_name else ""
        note(f"{prefix}{epoch_line(record, self.epochs)}  {duration(seconds)} left{suffix}")


class LiveBar:
    """An observer that shows a bar on a terminal and prints one line per epoch above it."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.prefix = ""
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

    def network(self, name: str, epochs: int) -> None:
        """See `Observer.network`."""
        self.prefix, self.epochs = f"{name}  ", epochs

    def begin(self, progress: TrainingProgress, images: int) -> None:
        """Show the bar."""
        self.images = images
        self.bar.update(self.task, total=self.epochs * images, completed=progress.epoch * images)
        self.bar.start()

    def step(self, progress: TrainingProgress) -> None:
        """Update the bar a few times per second."""
        now = time.monotonic()
        if now - self.updated_at < REFRESH_SECONDS or not progress.position:
            return
        self.updated_at = now
        progress.settle()
        state = (
            f"loss {progress.loss_sum / progress.position:.4f}  "
            f"{100 * progress.correct / progress.position:.1f}%  "
            f"{progress.position / max(progress.seconds, 1e-9):,.0f} img/s"
        )
        self.bar.update(
            self.task,
            description=f"{self.prefix}epoch {progress.epoch + 1}/{self.epochs}",
            completed=progress.epoch * self.images + progress.position,
            state=state,
        )

    def epoch(self, record: dict[str, Any]) -> None:
        """Print the metrics above the bar."""
        self.bar.console.print(f"{self.prefix}{epoch_line(record, self.epochs)}", highlight=False)

    def stop(self) -> None:
        """Remove the bar."""
        self.bar.stop()


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


def make_observer(epochs: int) -> EpochLines | LiveBar:
    """Return a live bar if stderr is a terminal, else lines."""
    return LiveBar(epochs) if sys.stderr.isatty() else EpochLines(epochs)


@contextlib.contextmanager
def stopping(observer: Any) -> Iterator[None]:
    """Call the `stop` method of an observer at the end of the block, if it has one."""
    try:
        yield
    finally:
        if hasattr(observer, "stop"):
            observer.stop()


def duration(seconds: float) -> str:
    """Return a duration as ``1:05``, or ``2:01:05`` if it is at least an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
