"""Table and figure of the runs that `speedrun.py` recorded."""

from __future__ import annotations

import io
import statistics
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from common import Result
from fashioncnn.files import write_atomic
from fashioncnn.reporting.figures import SERIES_COLORS, STYLE
from implementations import format_machine
from tables import format_mean_std, markdown_table

OURS = "ours-"
"""Prefix of the recipes of this package."""
THRESHOLDS = (0.88, 0.90, 0.91, 0.92, 0.93, 0.94, 0.95)
"""Accuracies whose times are reported."""
EXPLANATION = (
    "Times are medians over n seeds, the last accuracy is mean ± standard deviation. Training time "
    "includes neither set-up nor evaluation. The time to an accuracy is that of the first epoch "
    "that reaches it on the test split, which compares speed and selects nothing; 'n of m': only n "
    "of m seeds ever reach it. Evaluation is that of the test split, once. For recipes of this "
    "package, training time is that of the steps in history.jsonl; whitening counts as set-up."
)


def seconds_to(run: Result, accuracy: float) -> float | None:
    """Return the training time until the test accuracy is first reached; None if never."""
    reached = [p["train_seconds"] for p in run["points"] if p["test_accuracy"] >= accuracy]
    return min(reached, default=None)


def group_by_name(runs: dict[str, Result]) -> dict[str, list[Result]]:
    """Return the runs of every implementation, ours first, then by descending last accuracy."""
    groups: dict[str, list[Result]] = {}
    for run in runs.values():
        groups.setdefault(run["name"], []).append(run)

    def rank(name: str) -> tuple[bool, float]:
        return not name.startswith(OURS), -_median_of_last(groups[name], "test_accuracy")

    return {name: groups[name] for name in sorted(groups, key=rank)}


def to_markdown(runs: dict[str, Result], title_date: str) -> str:
    """Return the table and the conditions of every run."""
    columns = ["implementation", "n", "set-up, s", "training, s", "evaluation, s", "last accuracy"]
    columns += [f"s to {100 * accuracy:.0f}%" for accuracy in THRESHOLDS]
    rows = [_row(name, group) for name, group in group_by_name(runs).items()]
    conditions = [
        f"- {key}, {run['date']}: `{run['command']}` on {format_machine(run['machine'])}"
        for key, run in runs.items()
    ]
    title = f"# Test accuracy by training time, {title_date}"
    table = markdown_table(columns, rows)
    return "\n".join([title, "", EXPLANATION, "", table, "", *conditions, ""])


def _row(name: str, group: list[Result]) -> list[str]:
    setup = statistics.median(run["setup_seconds"] for run in group)
    last = [100 * float(run["points"][-1]["test_accuracy"]) for run in group]
    return [
        name,
        str(len(group)),
        f"{setup:.1f}",
        f"{_median_of_last(group, 'train_seconds'):.1f}",
        _evaluation_cell(group),
        f"{format_mean_std(last, 1, 2)}%",
        *(_time_cell(group, accuracy) for accuracy in THRESHOLDS),
    ]


def _time_cell(group: list[Result], accuracy: float) -> str:
    times = [t for t in (seconds_to(run, accuracy) for run in group) if t is not None]
    if not times:
        return "–"
    reached = "" if len(times) == len(group) else f" ({len(times)} of {len(group)})"
    return f"{statistics.median(times):.1f}{reached}"


def _evaluation_cell(group: list[Result]) -> str:
    """Return the seconds of one evaluation; empty for our recipes, which do not record them."""
    last = [run["points"][-1] for run in group]
    if "test_seconds" not in last[0]:
        return ""
    # A point with `images` is a model of its own, evaluated once; else the seconds add up.
    times = [p["test_seconds"] / (1 if "images" in p else p["epoch"]) for p in last]
    return f"{statistics.median(times):.1f}"


def _median_of_last(group: list[Result], key: str) -> float:
    return statistics.median(float(run["points"][-1][key]) for run in group)


def draw_figure(runs: dict[str, Result], path: Path) -> None:
    """Write accuracy against training time, on a logarithmic axis, as a PNG."""
    groups = group_by_name(runs)
    machines = {f"{r['machine']['cpu']}, {r['machine']['threads']} threads" for r in runs.values()}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 4.8), layout="constrained")
        axes = figure.subplots()
        for (name, group), (color, dashes) in zip(groups.items(), _line_styles(), strict=False):
            _draw_group(axes, name, group, color, dashes)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("training time, s")
        axes.set_title(f"Test accuracy, {'; '.join(sorted(machines))}")
        figure.legend(loc="outside right upper")
        buffer = io.BytesIO()
        metadata = {"Software": None}
        figure.savefig(buffer, format="png", dpi=150, facecolor="white", metadata=metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())


def _draw_group(axes: Axes, name: str, group: list[Result], color: str, dashes: str) -> None:
    ours = name.startswith(OURS)
    for index, run in enumerate(group):
        axes.plot(
            [point["train_seconds"] for point in run["points"]],
            [point["test_accuracy"] for point in run["points"]],
            dashes,
            color=color,
            marker="o",
            markersize=4 if ours else 3,
            linewidth=2.2 if ours else 1.4,
            label=name if index == 0 else None,
            zorder=3 if ours else 2,
        )


def _line_styles() -> Iterator[tuple[str, str]]:
    """Yield colors with solid lines, then the same colors with other dashes."""
    for dashes in ("-", "--", ":", "-."):
        for color in SERIES_COLORS:
            yield color, dashes
