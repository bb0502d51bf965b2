"""Figures of a hyper-parameter search as SVG: history, importance, parallel coordinates, slices."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fashioncnn.reporting.figures import (
    GRID,
    Axes,
    Figure,
    MaxNLocator,
    figure_style,
    plain_text,
    to_svg,
)
from fashioncnn.reporting.trials import (
    Dimension,
    Trial,
    count_states,
    format_value,
    rank_trials,
    with_loss,
)

BEST, GOOD, OTHER = "#D55E00", "#0072B2", "#767676"
"""Colors of the best trial, of the best quarter of the complete trials, and of the others."""
LONGEST_TICK_ROW = 30
"""Characters of horizontal tick labels that fit below a slice; longer rows are rotated."""
OPACITY = {BEST: 1.0, GOOD: 0.75, OTHER: 0.5}


@dataclass(frozen=True)
class Point:
    """A complete trial in a figure.

    Attributes:
        trial: the trial.
        loss: its loss, at most `loss_limit`.
        color: BEST, GOOD or OTHER.
    """

    trial: Trial
    loss: float
    color: str


def history_svg(trials: list[Trial]) -> str:
    """Return the loss of each trial by its number, with the lowest loss so far."""
    best = rank_trials(trials)[0]
    counts = count_states(trials, "complete", "pruned")
    label = f"Validation loss by trial: {counts}; lowest {best.loss:.4f} in trial {best.number}"
    with _figure("history", 4.4, 2.9) as figure:
        draw_history(figure.subplots(), trials)
        return to_svg(figure, label)


def importances_svg(importances: dict[str, float], dimensions: list[Dimension]) -> str:
    """Return a bar for the importance of each setting; an empty string without importances."""
    if not importances:
        return ""
    names = {dimension.key: dimension.name for dimension in dimensions}
    ranked = sorted(importances.items(), key=lambda item: item[1])
    bars = {names[key]: importance for key, importance in ranked}
    label = ", ".join(f"{name} {value:.0%}" for name, value in reversed(bars.items()))
    with _figure("importances", 4.4, max(1.6, 0.27 * len(bars) + 0.7)) as figure:
        draw_importances(figure.subplots(), bars)
        return to_svg(figure, f"Importance of each setting: {label}")


def parallel_coordinates_svg(trials: list[Trial], dimensions: list[Dimension]) -> str:
    """Return a line for each complete trial, through its values to its loss."""
    names = ", ".join(dimension.name for dimension in dimensions)
    with _figure("parallel coordinates", 9.6, 3.9) as figure:
        draw_parallel_coordinates(figure.subplots(), trials, dimensions)
        return to_svg(figure, f"Lines of the complete trials through {names} and validation loss")


def slice_svg(trials: list[Trial], dimension: Dimension) -> str:
    """Return the loss of each complete trial by the value of one setting."""
    with _figure(f"slice {dimension.key}", 2.8, 2.0) as figure:
        draw_slice(figure.subplots(), trials, dimension)
        return to_svg(figure, f"Validation loss of the complete trials by {dimension.name}")


def draw_history(axes: Axes, trials: list[Trial]) -> None:
    """Draw the losses of complete and pruned trials, and the lowest loss so far."""
    complete, pruned = with_loss(trials, "complete"), with_loss(trials, "pruned")
    limit = loss_limit([loss for loss, _ in complete])
    for pairs, marker, color, label in (
        (pruned, "x", OTHER, "pruned"),
        (complete, "o", GOOD, "complete"),
    ):
        if pairs:
            losses = [min(loss, limit) for loss, _ in pairs]
            numbers = [trial.number for _, trial in pairs]
            axes.plot(numbers, losses, marker, color=color, label=label, markersize=5)
    lowest = [min(loss for loss, _ in complete[: n + 1]) for n in range(len(complete))]
    numbers = [trial.number for _, trial in complete]
    axes.step(numbers, lowest, where="post", color=BEST, linewidth=1.6, label="lowest so far")
    axes.set(title="Loss by trial", xlabel="trial", ylabel="validation loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    # Below the axes, since the points leave no free area inside.
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)


def draw_importances(axes: Axes, importances: dict[str, float]) -> None:
    """Draw a bar for each setting by name, from the bottom up."""
    bars = axes.barh(list(map(plain_text, importances)), list(importances.values()), color=GOOD)
    axes.bar_label(bars, [f"{value:.0%}" for value in importances.values()], padding=4)
    axes.set(title="Importance", xlim=(0, 1.15 * max(importances.values())))
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)


def draw_parallel_coordinates(axes: Axes, trials: list[Trial], dimensions: list[Dimension]) -> None:
    """Draw the complete trials as lines, in order of decreasing loss."""
    points = _points(trials)
    lowest, limit = points[-1].loss, points[0].loss
    for point in points:
        height = (point.loss - lowest) / max(limit - lowest, 1e-12)
        heights = [*(dimension.fraction(point.trial) for dimension in dimensions), height]
        axes.plot(
            range(len(heights)),
            heights,
            color=point.color,
            alpha=OPACITY[point.color],
            linewidth=2.2 if point.color == BEST else 1.1,
        )
    ticks = [*map(_ticks, dimensions), [f"{lowest:.4f}", f"{limit:.4f}"]]
    for position, labels in enumerate(ticks):
        axes.axvline(position, color=GRID, zorder=0)
        for index, label in enumerate(labels):
            _draw_tick(axes, position, index / (len(labels) - 1), label)
    names = [*(plain_text(dimension.name) for dimension in dimensions), "validation loss"]
    axes.set_xticks(range(len(names)), names, rotation=25, ha="right", rotation_mode="anchor")
    axes.set(ylim=(-0.12, 1.12), title="Values of the complete trials")
    axes.grid(visible=False)
    axes.yaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=8)


def draw_slice(axes: Axes, trials: list[Trial], dimension: Dimension) -> None:
    """Draw the losses of the complete trials by the value of one setting."""
    for point in _points(trials):
        # Trials with the same choice are spread horizontally, by the golden ratio.
        jitter = 0.4 * ((0.618 * point.trial.number) % 1 - 0.5) if dimension.choices else 0.0
        x = dimension.value(point.trial) + jitter
        axes.plot(x, point.loss, "o", color=point.color, markersize=4)
    axes.set_title(plain_text(dimension.name))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    _show_whole_range(axes, dimension)


def loss_limit(losses: list[float]) -> float:
    """Return the upper end of the loss axis: the median plus twice its distance to the minimum.

    Higher losses are drawn at this limit; otherwise a few of them would compress all others.
    """
    median, highest = statistics.median(losses), max(losses)
    distance = median - min(losses)
    return min(highest, median + 2 * distance) if distance else highest


def _points(trials: list[Trial]) -> list[Point]:
    """Return the complete trials by decreasing loss, so that the best is drawn on top."""
    losses = sorted(loss for loss, _ in with_loss(trials, "complete"))
    limit, good = loss_limit(losses), losses[math.ceil(len(losses) / 4) - 1]
    points = []
    for loss, trial in sorted(with_loss(trials, "complete"), key=lambda pair: -pair[0]):
        color = BEST if loss == losses[0] else GOOD if loss <= good else OTHER
        points.append(Point(trial, min(loss, limit), color))
    return points


def _show_whole_range(axes: Axes, dimension: Dimension) -> None:
    """Set the horizontal range to the search range."""
    low, high = dimension.low, dimension.high
    if dimension.choices:
        labels = _ticks(dimension)
        axes.set_xticks(range(len(labels)), labels, fontsize=7)
        if sum(map(len, labels)) > LONGEST_TICK_ROW:
            axes.tick_params("x", rotation=30)
        axes.set_xlim(low - 0.5, high + 0.5)
    elif dimension.log:
        factor = (high / low) ** 0.04
        ticks = [low, math.sqrt(low * high), high]
        axes.set(xscale="log", xlim=(low / factor, high * factor))
        axes.set_xticks(ticks, [f"{tick:.2g}" if tick < 100 else f"{tick:.0f}" for tick in ticks])
        axes.minorticks_off()
    else:
        margin = 0.04 * (high - low)
        integer = isinstance(low, int) and isinstance(high, int)
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=integer, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(lambda value, _: format_value(float(value)))


def _ticks(dimension: Dimension) -> list[str]:
    """Return the labels of the choices, or of both ends of the range."""
    values = dimension.choices or (dimension.low, dimension.high)
    return [plain_text(format_value(value)) for value in values]


def _draw_tick(axes: Axes, position: int, height: float, label: str) -> None:
    """Write a label below the lower end, above the upper end, or beside a point between them."""
    offset, alignment = (5, 0), {"ha": "left", "va": "center"}
    if height in (0, 1):
        offset = (0, -4 if height == 0 else 4)
        alignment = {"ha": "center", "va": "top" if height == 0 else "bottom"}
    place: dict[str, Any] = {"xytext": offset, "textcoords": "offset points", **alignment}
    axes.annotate(label, (position, height), fontsize=8, **place)


@contextmanager
def _figure(name: str, width: float, height: float) -> Iterator[Figure]:
    """Yield a figure with a size in inches, the page's style and ids derived from `name`."""
    with figure_style(svg_hashsalt=name):
        yield Figure(figsize=(width, height), layout="constrained")
