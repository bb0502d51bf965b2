"""Figures of training runs: learning curves and the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.reporting.figures import (
    GRAY,
    PAGE_COLORS,
    SERIES_COLORS,
    Axes,
    Figure,
    MaxNLocator,
    NotebookFigure,
    PercentFormatter,
    figure_style,
    plain_text,
    to_svg,
    write_png,
)
from fashioncnn.reporting.mistakes import Mistake
from fashioncnn.reporting.tables import percent

SPLIT_LABELS = {"train": "train", "val": "validation", "test": "test"}
"""Names of splits, by their prefix in history.jsonl."""
LINE_WIDTH = 1.8
"""Of curves, in points."""
PANEL_SIZE = (4.4, 2.9)
"""Width and height of a figure on the page, in inches; it scales with the page."""
MISTAKE_COLUMNS = 6
MAX_CLASSES_WITH_COUNTS = 30
"""Above this number of classes, the cells of a confusion matrix show no counts."""
Record = dict[str, Any]
"""One line of history.jsonl."""


@dataclass(frozen=True)
class LineStyle:
    """Color and dash pattern of a curve.

    Attributes:
        color: ``#rrggbb``.
        dashes: dash lengths and gaps in multiples of the line width; empty for a solid line.
    """

    color: str
    dashes: tuple[float, ...] = ()

    @property
    def page_color(self) -> str:
        """The color on the page, as a CSS value."""
        return PAGE_COLORS[self.color]

    @property
    def dasharray(self) -> str:
        """The dash pattern in pixels, as an SVG attribute."""
        return " ".join(f"{LINE_WIDTH * length:g}" for length in self.dashes)


SPLIT_STYLES = {
    "train": LineStyle(GRAY, (1, 1.6)),
    "val": LineStyle(SERIES_COLORS[0]),
    "test": LineStyle(SERIES_COLORS[1], (4, 1.6)),
}
DASHES: tuple[tuple[float, ...], ...] = ((), (4, 1.6), (1, 1.6), (6, 1.6, 1, 1.6))


def series_style(index: int) -> LineStyle:
    """Return the style of the curve of run `index`; 28 runs have distinct styles."""
    dashes = DASHES[index // len(SERIES_COLORS) % len(DASHES)]
    return LineStyle(SERIES_COLORS[index % len(SERIES_COLORS)], dashes)


def write_curves(history: list[Record], path: Path) -> None:
    """Write accuracy and loss by epoch as a PNG."""
    write_png(curves_figure(history), path)


def write_confusion_matrix(evaluation: dict[str, Any], path: Path) -> None:
    """Write the confusion matrix as a PNG: color by fraction of the true class, and counts."""
    write_png(confusion_figure(evaluation), path)


def curves_figure(history: list[Record]) -> Figure:
    """Return accuracy and loss by epoch."""
    with figure_style():
        figure = NotebookFigure(figsize=(10, 3.8), layout="constrained")
        for axes, metric in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
            _plot_splits(axes, history, metric)
        _add_legend(figure)
        figure.draw_without_rendering()  # ticks take their style when they are first drawn
    return figure


def confusion_figure(evaluation: dict[str, Any]) -> Figure:
    """Return the confusion matrix: color by fraction of the true class, and counts."""
    counts = np.array(evaluation["confusion"])
    names = [plain_text(c["name"]) for c in evaluation["per_class"]]
    side = max(5.0, 0.62 * len(names) + 1.6)
    with figure_style(axes_grid=False):
        figure = NotebookFigure(figsize=(side, side * 0.95), layout="constrained")
        axes = figure.subplots()
        _draw_matrix(axes, counts)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted class", ylabel="true class")
        axes.set_title(
            f"{plain_text(evaluation['dataset'])}, {evaluation['split']} accuracy "
            f"{percent(evaluation['accuracy'])} (n = {evaluation['n']:,})"
        )
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        figure.draw_without_rendering()
    return figure


def mistakes_figure(mistakes: Sequence[Mistake], images: Sequence[NDArray[np.uint8]]) -> Figure:
    """Return the images of mistakes with their true and predicted classes.

    Args:
        mistakes: in the order to show; the figure says so if there are none.
        images: of the mistakes, (height, width[, 3]) uint8.
    """
    columns = min(len(mistakes), MISTAKE_COLUMNS) or 1
    rows = math.ceil(len(mistakes) / columns) or 1
    with figure_style(axes_grid=False):
        figure = NotebookFigure(figsize=(1.5 * columns + 0.5, 1.9 * rows), layout="constrained")
        if not mistakes:
            figure.text(0.5, 0.5, "no mistakes", ha="center", va="center")
        axes = list(figure.subplots(rows, columns, squeeze=False).flat)
        for cell in axes:
            cell.set_axis_off()
        for cell, mistake, image in zip(axes, mistakes, images, strict=False):
            cell.imshow(image, cmap="gray", vmin=0, vmax=255)
            title = f"{mistake.true}\n→ {mistake.predicted} {mistake.confidence:.0%}"
            cell.set_title(plain_text(title), fontsize=8, loc="center", fontweight="normal")
        figure.draw_without_rendering()
    return figure


def curves_svg(history: list[Record], metric: str, run_name: str) -> str:
    """Return the curves of one metric, ``accuracy`` or ``loss``, as SVG for the page."""
    with figure_style(svg_hashsalt=metric):
        figure = Figure(figsize=PANEL_SIZE, layout="constrained")
        _plot_splits(figure.subplots(), history, metric)
        _add_legend(figure)
        final = [
            f"{label} {_format(history[-1][f'{split}_{metric}'], metric)}"
            for split, label in SPLIT_LABELS.items()
            if history[-1][f"{split}_{metric}"] is not None
        ]
        label = f"{metric.capitalize()} of {run_name} by epoch; after epoch {len(history)}: "
        return to_svg(figure, label + ", ".join(final))


def comparison_svg(histories: Sequence[list[Record]], split: str, metric: str) -> str:
    """Return one metric of one split by epoch as SVG, one line per run, without a legend.

    The legend is part of the page, because one with many runs would cover the curves.

    Args:
        histories: of each run; run i is drawn in ``series_style(i)``.
        split: ``train``, ``val`` or ``test``.
        metric: ``accuracy`` or ``loss``.
    """
    key, title = f"{split}_{metric}", f"{SPLIT_LABELS[split].capitalize()} {metric}"
    with figure_style(svg_hashsalt=key):
        figure = Figure(figsize=PANEL_SIZE, layout="constrained")
        axes = figure.subplots()
        for index, history in enumerate(histories):
            _plot_line(axes, history, key, series_style(index))
        _finish_axes(axes, title, metric)
        final = [h[-1][key] for h in histories if h[-1][key] is not None]
        low, high = _format(min(final), metric), _format(max(final), metric)
        label = f"{title} by epoch, one line per run; final values from {low} to {high}"
        return to_svg(figure, label)


def _plot_splits(axes: Axes, history: list[Record], metric: str) -> None:
    for split, style in SPLIT_STYLES.items():
        _plot_line(axes, history, f"{split}_{metric}", style, SPLIT_LABELS[split])
    _finish_axes(axes, metric.capitalize(), metric)


def _plot_line(
    axes: Axes, history: list[Record], key: str, style: LineStyle, label: str | None = None
) -> None:
    points = [(r["epoch"], r[key]) for r in history if r[key] is not None]
    if points:
        epochs, values = zip(*points, strict=True)
        axes.plot(
            epochs,
            values,
            color=style.color,
            linestyle=(0, style.dashes) if style.dashes else "-",
            label=label,
            linewidth=LINE_WIDTH,
            marker="o" if len(points) == 1 else None,
        )


def _finish_axes(axes: Axes, title: str, metric: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if axes.lines and axes.dataLim.width == 0:  # one epoch: give the x axis a width
        axes.set_xlim(axes.dataLim.x0 - 0.5, axes.dataLim.x0 + 0.5)
    if metric == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _add_legend(figure: Figure) -> None:
    """Add a legend below the axes, where it cannot cover a curve."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))


def _draw_matrix(axes: Axes, counts: np.ndarray[Any, Any]) -> None:
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # The square root makes rare confusions visible beside frequent correct predictions.
    image = axes.imshow(np.sqrt(fractions), cmap="Blues", vmin=0, vmax=1)
    if len(counts) > MAX_CLASSES_WITH_COUNTS:
        return
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = _text_color(image.cmap(np.sqrt(fractions[row, column])))
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=9)


def _format(value: float, metric: str) -> str:
    return percent(value) if metric == "accuracy" else f"{value:.4f}"


def _text_color(background: Sequence[float]) -> str:
    """Return black or white, whichever has the higher contrast (WCAG 2.2, "relative luminance").

    Args:
        background: red, green, blue in [0, 1]; more values are ignored.
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in background[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if luminance < 0.179 else "black"
