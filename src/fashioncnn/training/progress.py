"""Live progress of a training: a bar on a terminal or in a notebook."""

from __future__ import annotations

import multiprocessing
import sys
import time
from dataclasses import dataclass
from html import escape
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fashioncnn.training.callbacks import Callback
from fashioncnn.training.state import Record, TrainState

REFRESH_SECONDS = 0.1
NOTEBOOK_REFRESH_SECONDS = 0.5
"""A notebook stores and sends every update."""
SHOWN_EPOCHS = 10
"""Last epochs that a notebook shows."""


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


def name_prefix(state: TrainState) -> str:
    """Return the name of the network in a distillation, and a gap; else an empty string."""
    return f"{state.name}  " if state.name else ""


def live_progress() -> list[LiveBar | NotebookBar]:
    """Return a bar if this process can show one: in a notebook, or on a terminal."""
    if multiprocessing.current_process().name != "MainProcess":  # several bars would overlap
        return []
    if in_notebook():
        return [NotebookBar()]
    return [LiveBar()] if sys.stderr.isatty() else []


def in_notebook() -> bool:
    """Return whether this code runs in the kernel of a notebook."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return shell is not None and hasattr(shell, "kernel")


@dataclass(frozen=True)
class Snapshot:
    """The progress of a training at one moment.

    Attributes:
        title: the epoch, and the network if there are several.
        metrics: loss, accuracy and rate since the start of the epoch.
        done: images of all epochs.
    """

    title: str
    metrics: str
    done: int


def snapshot(state: TrainState, images: int) -> Snapshot:
    """Return the progress within an epoch of `images` images, after its first step."""
    progress = state.progress
    progress.settle()
    return Snapshot(
        f"{name_prefix(state)}epoch {progress.epoch + 1}/{state.epochs}",
        f"loss {progress.loss_sum / progress.position:.4f}  "
        f"{100 * progress.correct / progress.position:.1f}%  "
        f"{progress.position / max(progress.seconds, 1e-9):,.0f} img/s",
        progress.epoch * images + progress.position,
    )


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
        now = time.monotonic()
        if now - self.updated_at < REFRESH_SECONDS or not state.progress.position:
            return
        self.updated_at = now
        now_at = snapshot(state, self.images)
        self.bar.update(
            self.task, description=now_at.title, completed=now_at.done, state=now_at.metrics
        )

    def on_epoch(self, state: TrainState, record: Record) -> None:
        """Print the metrics above the bar."""
        line = f"{name_prefix(state)}{epoch_line(record, state.epochs)}"
        self.bar.console.print(line, highlight=False)

    def close(self) -> None:
        """Remove the bar."""
        self.bar.stop()


class NotebookBar(Callback):
    """Shows a bar and the last epochs below a cell; needs IPython, but no widgets."""

    def __init__(self) -> None:
        self.images = 1
        self.updated_at = 0.0
        self.lines: list[str] = []
        self.handle: Any = None

    def on_start(self, state: TrainState, images: int) -> None:
        """Show an empty bar."""
        self.images, self.lines = images, []
        self._show(state, Snapshot(f"{name_prefix(state)}training", "", 0))

    def on_step(self, state: TrainState) -> None:
        """Update the bar about twice per second."""
        now = time.monotonic()
        if now - self.updated_at < NOTEBOOK_REFRESH_SECONDS or not state.progress.position:
            return
        self.updated_at = now
        self._show(state, snapshot(state, self.images))

    def on_epoch(self, state: TrainState, record: Record) -> None:
        """Add the metrics below the bar."""
        self.lines.append(f"{name_prefix(state)}{epoch_line(record, state.epochs)}")
        done = record["epoch"] * self.images
        title = f"{name_prefix(state)}epoch {record['epoch']}/{state.epochs}"
        self._show(state, Snapshot(title, "", done))

    def close(self) -> None:
        """Do nothing; the metrics stay visible."""

    def _show(self, state: TrainState, progress: Snapshot) -> None:
        from IPython import display

        total = state.epochs * self.images
        shown = escape("\n".join(self.lines[-SHOWN_EPOCHS:]))
        page = display.HTML(  # type: ignore[no-untyped-call]
            f'<div>{escape(progress.title)} <progress value="{progress.done}" max="{total}">'
            f"</progress> {escape(progress.metrics)}</div><pre>{shown}</pre>"
        )
        if self.handle is None:
            self.handle = display.display(page, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self.handle.update(page)
