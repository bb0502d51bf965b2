"""Images of a run: curves and confusion matrix as PNG, curves as SVG for the page."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fashioncnn.files import write_atomic

# Okabe and Ito's colours, told apart by colour-blind readers; the dashes tell them apart in grey.
SPLIT_STYLES = {
    "train": ("#999999", ":"),
    "val": ("#0072B2", "-"),
    "test": ("#D55E00", "--"),
}
SPLIT_LABELS = {"train": "train", "val": "validation", "test": "test"}
SERIES_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A7A7A")
INK, GRID = "#1b1b1f", "#d9d9de"
PAGE_COLOURS = {
    INK: "var(--ink)",
    GRID: "var(--line)",
    "#0072B2": "var(--right)",
    "#D55E00": "var(--wrong)",
}
"""Colours that the page gives anew, for light and for dark."""
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
}

Record = dict[str, Any]


def write_curves(history: list[Record], path: Path) -> None:
    """Write accuracy and loss by epoch as a PNG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_splits(left, history, "accuracy")
        _draw_splits(right, history, "loss")
        _write_png(figure, path)


def write_confusion_matrix(judged: dict[str, Any], path: Path) -> None:
    """Write the confusion matrix as a heat map: shares of each true class, counts as text."""
    counts = np.array(judged["confusion"])
    names = [plain_text(c["name"]) for c in judged["per_class"]]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(5.0, 0.62 * len(names) + 1.6)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(side, side * 0.95), layout="constrained")
        axes = figure.subplots()
        # The square root shows the rare confusions beside the common right answers.
        axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_title(
            f"{plain_text(judged['dataset'])}, {judged['split']}: "
            f"{100 * judged['accuracy']:.2f}% of {judged['n']:,}"
        )
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        if len(names) <= 30:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    colour = "white" if shares[row, column] > 0.3 else INK
                    axes.text(
                        column, row, f"{count}", ha="center", va="center", color=colour, fontsize=9
                    )
        _write_png(figure, path)


def curves_svg(history: list[Record], quantity: str) -> str:
    """Return one panel, ``accuracy`` or ``loss``, as SVG for the page."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": quantity}):
        figure = Figure(figsize=(4.4, 2.9), layout="constrained")
        _draw_splits(figure.subplots(), history, quantity)
        return to_svg(figure, f"{quantity} by epoch")


def comparison_svg(histories: dict[str, list[Record]], split: str, quantity: str) -> str:
    """Return one quantity of one split by epoch, a line for each run, as SVG for the page."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": split + quantity}):
        figure = Figure(figsize=(4.4, 2.9), layout="constrained")
        axes = figure.subplots()
        for index, (name, history) in enumerate(histories.items()):
            colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
            dashes = ("-", "--", ":", "-.")[index // len(SERIES_COLOURS) % 4]
            _draw_line(axes, history, f"{split}_{quantity}", plain_text(name), colour, dashes)
        _finish(axes, f"{SPLIT_LABELS[split].capitalize()} {quantity}", quantity)
        return to_svg(figure, f"{SPLIT_LABELS[split]} {quantity} of every run by epoch")


def plain_text(text: str) -> str:
    """Return `text` as matplotlib shows it letter by letter, no formula in it."""
    return text.replace("$", r"\$")


def _draw_splits(axes: Axes, history: list[Record], quantity: str) -> None:
    for split, (colour, dashes) in SPLIT_STYLES.items():
        _draw_line(axes, history, f"{split}_{quantity}", SPLIT_LABELS[split], colour, dashes)
    _finish(axes, quantity.capitalize(), quantity)


def _draw_line(
    axes: Axes, history: list[Record], key: str, label: str, colour: str, dashes: str
) -> None:
    points = [(r["epoch"], r[key]) for r in history if r[key] is not None]
    if points:
        epochs, values = zip(*points, strict=True)
        marker = "o" if len(points) == 1 else None
        axes.plot(epochs, values, dashes, color=colour, label=label, linewidth=1.8, marker=marker)


def _finish(axes: Axes, title: str, quantity: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if axes.lines and axes.dataLim.width == 0:  # a single epoch needs room
        axes.set_xlim(axes.dataLim.x0 - 0.5, axes.dataLim.x0 + 0.5)
    if quantity == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    if axes.lines:
        axes.legend(loc="best")


def _write_png(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a script that the font lacks shows as boxes
        figure.savefig(
            buffer, format="png", dpi=150, facecolor="white", metadata={"Software": None}
        )
    write_atomic(path, buffer.getvalue())


def to_svg(figure: Figure, label: str) -> str:
    """Return SVG whose ink follows the page, light or dark."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the page's own fonts will draw it
        metadata = {"Date": None, "Creator": None}
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    for colour, variable in PAGE_COLOURS.items():
        svg = svg.replace(colour.lower(), variable)
    return svg
