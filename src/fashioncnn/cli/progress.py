"""Work as it goes: a live bar on a terminal; of training, a line for each epoch elsewhere."""

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
from fashioncnn.training.state import Progress as TrainingProgress

REFRESH_SECONDS = 0.1


def epoch_line(record: dict[str, Any], epochs: int) -> str:
    """Return an epoch in one line."""
    parts = [f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}"]
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        if record[f"{split}_loss"] is not None:
            loss, accuracy = record[f"{split}_loss"], record[f"{split}_accuracy"]
            parts.append(f"{name} {loss:.4f} {100 * accuracy:5.2f}%")
    parts.append(f"{record['images_per_second']:,.0f} img/s")
    return "  ".join(parts)


class EpochLines:
    """An observer that writes a line for each epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.name = ""
        self.began = time.monotonic()
        self.first_epoch = 0

    def network(self, name: str, epochs: int) -> None:
        """See `Observer.network`."""
        self.name, self.epochs = f"{name}  ", epochs

    def begin(self, progress: TrainingProgress, images: int) -> None:  # noqa: ARG002
        """See `Observer.begin`."""
        self.first_epoch = progress.epoch
        self.began = time.monotonic()

    def step(self, progress: TrainingProgress) -> None:
        """See `Observer.step`."""

    def epoch(self, record: dict[str, Any]) -> None:
        """Write the epoch, with the time that the others will take at this pace."""
        done = record["epoch"] - self.first_epoch
        left = (time.monotonic() - self.began) / done * (self.epochs - record["epoch"])
        of_what = " of this network" if self.name else ""
        note(f"{self.name}{epoch_line(record, self.epochs)}  {duration(left)} left{of_what}")


class LiveBar:
    """An observer that draws a bar on a terminal and leaves a line for each epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.name = ""
        self.images = 1
        self.shown_at = 0.0
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
        self.name, self.epochs = f"{name}  ", epochs

    def begin(self, progress: TrainingProgress, images: int) -> None:
        """Draw the bar."""
        self.images = images
        self.bar.update(self.task, total=self.epochs * images, completed=progress.epoch * images)
        self.bar.start()

    def step(self, progress: TrainingProgress) -> None:
        """Move the bar, a few times a second."""
        now = time.monotonic()
        if now - self.shown_at < REFRESH_SECONDS or not progress.position:
            return
        self.shown_at = now
        progress.settle()  # so that the sums are those of all the images counted
        state = (
            f"loss {progress.loss_sum / progress.position:.4f}  "
            f"{100 * progress.correct / progress.position:.1f}%  "
            f"{progress.position / max(progress.seconds, 1e-9):,.0f} img/s"
        )
        self.bar.update(
            self.task,
            description=f"{self.name}epoch {progress.epoch + 1}/{self.epochs}",
            completed=progress.epoch * self.images + progress.position,
            state=state,
        )

    def epoch(self, record: dict[str, Any]) -> None:
        """Leave a line above the bar."""
        self.bar.console.print(f"{self.name}{epoch_line(record, self.epochs)}", highlight=False)

    def stop(self) -> None:
        """Take the bar away."""
        self.bar.stop()


def image_bar() -> Progress:
    """Return a bar for images that go by, with their number and how many go by in a second."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        ImagesPerSecond(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # results are none of the bar's business
    )


class ImagesPerSecond(ProgressColumn):
    """How many images go by in a second."""

    def render(self, task: Task) -> Text:
        """Return it; nothing until it is known."""
        return Text(f"{task.speed:,.0f} images/s" if task.speed else "")


def make_observer(epochs: int) -> EpochLines | LiveBar:
    """Return what fits stderr: a bar on a terminal, lines elsewhere."""
    return LiveBar(epochs) if sys.stderr.isatty() else EpochLines(epochs)


@contextlib.contextmanager
def stopping(observer: Any) -> Iterator[None]:
    """Take away in the end what an observer has drawn, if it draws."""
    try:
        yield
    finally:
        if hasattr(observer, "stop"):
            observer.stop()


def duration(seconds: float) -> str:
    """Return ``1:05``, or ``2:01:05`` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
