"""Images of a search: how it went, what mattered, which values were good."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fashioncnn.reporting.figures import GRID, STYLE, plain_text, to_svg

GOOD, BEST, OTHER = "#0072B2", "#D55E00", "#999999"
"""The best quarter of the complete trials, the best of all, and the rest."""
PER_ROW = 4
"""Slices side by side."""
Trial = dict[str, Any]


@dataclass(frozen=True)
class Scale:
    """One searched setting, as an axis.

    Attributes:
        key: of the setting, dotted.
        name: what it is called in tables and figures.
        low: the least value; of choices 0.
        high: the greatest; of choices the last one's position.
        log: whether factors are even.
        choices: the values that have no order; empty for numbers.
    """

    key: str
    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def position(self, trial: Trial) -> float:
        """Return a trial's value as a number."""
        value = trial["parameters"][self.key]
        return float(self.choices.index(value) if self.choices else value)

    def share(self, trial: Trial) -> float:
        """Return a trial's value as a share of the axis, from 0 to 1."""
        low, value, high = self.low, self.position(trial), self.high
        if self.log:
            low, value, high = math.log(low), math.log(value), math.log(high)
        return (value - low) / (high - low)


def history_svg(trials: list[Trial]) -> str:
    """Return the loss of every trial in the order they ended, and the best so far."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": "history"}):
        figure = Figure(figsize=(4.4, 2.9), layout="constrained")
        draw_history(figure.subplots(), trials)
        return to_svg(figure, "validation loss by trial")


def importances_svg(importances: dict[str, float], scales: list[Scale]) -> str:
    """Return bars of how much each setting decides."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": "importances"}):
        figure = Figure(
            figsize=(4.4, max(1.6, 0.27 * len(importances) + 0.7)), layout="constrained"
        )
        draw_importances(figure.subplots(), importances, scales)
        return to_svg(figure, "importance of each setting")


def parallel_svg(trials: list[Trial], scales: list[Scale]) -> str:
    """Return a line for each complete trial through its values to its loss."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": "parallel", "axes.grid": False}):
        figure = Figure(figsize=(9.6, 3.9), layout="constrained")
        draw_parallel(figure.subplots(), trials, scales)
        return to_svg(figure, "values and loss of every complete trial")


def slices_svg(trials: list[Trial], scales: list[Scale]) -> str:
    """Return the loss by each setting alone."""
    rows = math.ceil(len(scales) / PER_ROW)
    with mpl.rc_context({**STYLE, "svg.hashsalt": "slices", "font.size": 9}):
        figure = Figure(figsize=(9.6, 2.2 * rows), layout="constrained")
        panels = list(figure.subplots(rows, PER_ROW, squeeze=False, sharey=True).flat)
        for panel, scale in zip(panels, scales, strict=False):
            draw_slice(panel, trials, scale)
        for panel in panels[len(scales) :]:
            panel.remove()
        return to_svg(figure, "validation loss by each setting")


def draw_history(axes: Axes, trials: list[Trial]) -> None:
    """Draw the trials that ended with a loss."""
    complete, pruned = _with_state(trials, "complete"), _with_state(trials, "pruned")
    top = highest_shown(complete)
    for group, marker, colour, name in (
        (pruned, "x", OTHER, "stopped early"),
        (complete, "o", GOOD, "complete"),
    ):
        if group:
            losses = [min(t["loss"], top) for t in group]
            numbers = [t["number"] for t in group]
            axes.plot(numbers, losses, marker, color=colour, label=name, markersize=5)
    best = [min(t["loss"] for t in complete[: n + 1]) for n in range(len(complete))]
    numbers = [t["number"] for t in complete]
    axes.step(numbers, best, where="post", color=BEST, linewidth=1.6, label="best so far")
    axes.set(title="Loss by trial", xlabel="trial", ylabel="validation loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)  # below: trials fill it


def draw_importances(axes: Axes, importances: dict[str, float], scales: list[Scale]) -> None:
    """Draw a bar for each setting, the longest on top."""
    names = {scale.key: plain_text(scale.name) for scale in scales}
    ranked = sorted(importances.items(), key=lambda item: item[1])
    bars = axes.barh([names[k] for k, _ in ranked], [v for _, v in ranked], color=GOOD)
    axes.bar_label(bars, [f" {v:.0%}" for _, v in ranked])
    axes.set(title="Importance", xlim=(0, 1.15 * max(importances.values())))
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)


def draw_parallel(axes: Axes, trials: list[Trial], scales: list[Scale]) -> None:
    """Draw complete trials as lines, the best last."""
    complete = _with_state(trials, "complete")
    ranked = sorted(complete, key=lambda t: -t["loss"])
    least, top = ranked[-1]["loss"], highest_shown(complete)
    good = _good(complete)
    places = range(len(scales) + 1)
    for trial in ranked:
        loss = (min(trial["loss"], top) - least) / max(top - least, 1e-12)
        heights = [*(scale.share(trial) for scale in scales), loss]
        is_best = trial is ranked[-1]
        colour = BEST if is_best else GOOD if trial["loss"] <= good else OTHER
        opacity = 1.0 if is_best else 0.75 if colour == GOOD else 0.4
        axes.plot(places, heights, color=colour, alpha=opacity, linewidth=2.2 if is_best else 1.1)
    for place, scale in enumerate(scales):
        axes.axvline(place, color=GRID, zorder=0)
        for height, text in _ticks(scale):
            axes.text(place, height, text, ha="center", va=_side(height), fontsize=8)
    axes.axvline(len(scales), color=GRID, zorder=0)
    for height, text in ((0.0, f"{least:.4f}"), (1.0, f"{top:.4f}")):
        axes.text(len(scales), height, text, ha="center", va=_side(height), fontsize=8)
    names = [*(plain_text(scale.name) for scale in scales), "validation loss"]
    axes.set_xticks(list(places), names, rotation=25, ha="right", rotation_mode="anchor")
    axes.set(ylim=(-0.12, 1.12), title="Values of the complete trials")
    axes.yaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=8)


def draw_slice(axes: Axes, trials: list[Trial], scale: Scale) -> None:
    """Draw the loss of the complete trials by one setting."""
    complete = _with_state(trials, "complete")
    top, good, best = highest_shown(complete), _good(complete), min(t["loss"] for t in complete)
    for trial in sorted(complete, key=lambda t: -t["loss"]):
        colour = BEST if trial["loss"] == best else GOOD if trial["loss"] <= good else OTHER
        # Trials of one choice are drawn beside each other, always alike: by the golden ratio.
        aside = 0.4 * ((0.618 * trial["number"]) % 1 - 0.5) if scale.choices else 0.0
        x, y = scale.position(trial) + aside, min(trial["loss"], top)
        axes.plot(x, y, "o", color=colour, markersize=4)
    axes.set_title(plain_text(scale.name), fontsize=9)
    if scale.choices:
        names = [plain_text(value_text(value)) for value in scale.choices]
        axes.set_xticks(range(len(names)), names, fontsize=7)
        axes.set_xlim(-0.5, len(names) - 0.5)
    else:
        _span(axes, scale)
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _span(axes: Axes, scale: Scale) -> None:
    """Have an axis show the whole range, also where nothing was found good."""
    if scale.log:
        edge = (scale.high / scale.low) ** 0.04
        axes.set(xscale="log", xlim=(scale.low / edge, scale.high * edge))
        axes.set_xticks(ticks := [scale.low, math.sqrt(scale.low * scale.high), scale.high])
        axes.set_xticklabels([f"{tick:.2g}" if tick < 100 else f"{tick:.0f}" for tick in ticks])
        axes.minorticks_off()
    else:
        edge = 0.04 * (scale.high - scale.low)
        axes.set_xlim(scale.low - edge, scale.high + edge)
        whole = isinstance(scale.low, int) and isinstance(scale.high, int)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=whole, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(lambda value, _: value_text(float(value)))


def highest_shown(complete: list[Trial]) -> float:
    """Return the loss at which figures end: bad trials would leave no room for the good ones."""
    losses: list[float] = [t["loss"] for t in complete]
    middle = statistics.median(losses)
    spread = middle - min(losses)
    return min(max(losses), middle + 2 * spread) if spread else max(losses)


def value_text(value: Any) -> str:
    """Return a value as a table shows it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value))
    return str(value)


def _with_state(trials: list[Trial], state: str) -> list[Trial]:
    return [t for t in trials if t["state"] == state and t["loss"] is not None]


def _good(complete: list[Trial]) -> float:
    """Return the loss of the last of the best quarter."""
    losses = sorted(t["loss"] for t in complete)
    return float(losses[max(0, math.ceil(len(losses) / 4) - 1)])


def _ticks(scale: Scale) -> list[tuple[float, str]]:
    if not scale.choices:
        return [(0.0, value_text(scale.low)), (1.0, value_text(scale.high))]
    last = len(scale.choices) - 1
    return [(i / last, plain_text(value_text(c))) for i, c in enumerate(scale.choices)]


def _side(height: float) -> str:
    return "top" if height == 0 else "bottom" if height == 1 else "center"
