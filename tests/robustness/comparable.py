"""Makes equal runs produce equal bytes: constant times, constant memory, figures of their data."""

import contextlib
import html
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from .recorder import Content, read_folder


@contextlib.contextmanager
def constant_times() -> Iterator[None]:
    """Record the same times, memory and commit in every run of this process."""
    from fashioncnn.training.state import TrainState

    finish_epoch = TrainState.finish_epoch

    def finish_epoch_in_one_second(state: TrainState) -> dict[str, Any]:
        record = finish_epoch(state)
        record |= {"seconds": 1.0, "images_per_second": 40.0}
        return record

    with (
        patch.object(TrainState, "finish_epoch", finish_epoch_in_one_second),
        patch("fashioncnn.training.finalize.peak_memory_bytes", lambda: 10**8),
        patch("fashioncnn.environment._git_commit", lambda: None),  # may change meanwhile
    ):
        yield


@contextlib.contextmanager
def thread_workers() -> Iterator[None]:
    """Use threads of this process as workers of a search, with constant times."""
    from fashioncnn.tuning import worker

    from ..tuning.helpers import ThreadContext

    train_trial = worker.train_trial

    def train_trial_in_one_second(*arguments: Any) -> Any:
        return replace(train_trial(*arguments), seconds=1.0)

    with (
        patch.object(worker, "train_trial", train_trial_in_one_second),
        patch("multiprocessing.get_context", lambda method: ThreadContext),
        patch("multiprocessing.resource_tracker.ensure_running", lambda: None),
    ):
        yield


class Shown:
    """Stands for a figure, whose layout takes longer than all the rest: what it would show."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def savefig(self, file: Any, **options: Any) -> None:
        """Write the content instead of drawing it."""
        file.write(b"PNG " + repr(self.content).encode())


@contextlib.contextmanager
def no_figures() -> Iterator[None]:
    """Draw no figures; write what they would show, of those of a search the data of lines."""
    from fashioncnn.reporting.page import page_template

    with (
        patch("fashioncnn.reporting.run_figures.curves_figure", Shown),
        patch("fashioncnn.reporting.run_figures.confusion_figure", Shown),
        patch("fashioncnn.reporting.page.comparison_svg", _shown_svg),
        patch.dict(page_template("run.html.j2").environment.globals, curves_svg=_shown_svg),
        patch.dict(page_template("runs.html.j2").environment.globals, curves_svg=_shown_svg),
        patch("matplotlib.figure.Figure.draw_without_rendering", lambda figure: None),
        patch("matplotlib.figure.Figure.savefig", _write_lines),
    ):
        yield


def _shown_svg(*content: Any) -> str:
    return f'<svg viewBox="0 0 1 1"><text>{html.escape(repr(content))}</text></svg>'


def _write_lines(figure: Any, file: Any, format: str, **options: Any) -> None:
    lines = [line.get_xydata().tolist() for axes in figure.axes for line in axes.lines]
    if isinstance(file, io.StringIO):
        file.write(f'<svg viewBox="0 0 1 1"><text>{lines}</text></svg>')
    else:
        file.write(b"PNG " + repr(lines).encode())


def products(work: Path, ignored: tuple[str, ...] = ()) -> dict[str, Content]:
    """Return the files that an uninterrupted and a continued command have in common.

    Checkpoints contain training times, and their number depends on when they were written.

    Args:
        work: the folder in which the commands ran.
        ignored: suffixes of names whose content is not compared.
    """
    return {
        name: "not compared" if name.endswith(ignored or "\0") else _comparable(name, content)
        for name, content in read_folder(work).items()
        if "checkpoints/" not in name and not name.endswith(".lock")
    }


def difference(expected: dict[str, Content], found: dict[str, Content]) -> str | None:
    """Return how two products differ, as text; None if they are equal."""
    if found.keys() != expected.keys():
        return f"files differ: {sorted(found.keys() ^ expected.keys())}"
    different = [name for name in expected if found[name] != expected[name]]
    return f"content differs: {different}" if different else None


def _comparable(name: str, content: Content) -> Content:
    if isinstance(content, bytes) and name.endswith("best.toml"):
        return b"\n".join(content.splitlines()[1:])  # the description has the number of the trial
    return content
