"""A progress bar for images, on a terminal; without torch."""

from __future__ import annotations

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
