"""A comparison in plain words, and as tables."""

from __future__ import annotations

from typing import Any

from fashioncnn.evaluation.comparison import LEVEL
from fashioncnn.reporting.tables import Table, percent

PAIRS = 8
"""Changed confusions that are shown."""


def verdict(compared: dict[str, Any]) -> str:
    """Return whether the difference can be trusted, and how far, in a few sentences."""
    difference, p = compared["accuracy_difference"], compared["accuracy_difference_p"]
    interval = compared["accuracy_difference_ci95"]
    said = f"B's accuracy less A's is {points(difference)} points"
    if interval is None:
        return (
            f"No difference that can be trusted: {said}, and nothing varies that it could be "
            "tested by. More seeds or more images are needed."
        )
    said += f", 95% interval {bracket(interval)}, p {p_value(p)}"
    if compared["trusted"]:
        better, worse = ("B", "A") if difference > 0 else ("A", "B")
        first = f"{better} is more accurate than {worse}, and that can be trusted: {said}."
    elif (p < LEVEL) != (interval[0] > 0 or interval[1] < 0):
        first = f"Borderline, so not to be trusted: {said}; test and interval do not agree."
    else:
        first = f"No difference that can be trusted: {said}."
    a, b = compared["a"], compared["b"]
    if a["runs"] == 1:
        return (
            f"{first} This is about these two networks, whatever images of this kind they are "
            "shown; other seeds may give another difference (train several of each, and compare "
            "those)."
        )
    return (
        f"{first} This is about what other seeds and other images of this kind would give, by "
        f"{a['runs']} and {b['runs']} runs on {compared['n']:,} images."
    )


def comparison_tables(compared: dict[str, Any]) -> list[Table]:
    """Return the figures, the classes and the pairs that a difference comes from."""
    return [_figures(compared), _classes(compared), _pairs(compared)]


def points(share: float) -> str:
    """Return a difference of shares in signed percentage points."""
    return f"{100 * share + 0.0:+.2f}".replace("-0.00", "+0.00")


def bracket(interval: list[float] | None) -> str:
    """Return an interval of shares in signed percentage points."""
    return "–" if interval is None else f"[{points(interval[0])}, {points(interval[1])}]"


def p_value(p: float | None) -> str:
    """Return a p value with as many digits as it is worth."""
    if p is None:
        return "–"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _figures(compared: dict[str, Any]) -> Table:
    a, b = compared["a"], compared["b"]
    losses = compared["loss_difference_ci95"]
    rows = (
        ("Runs", str(a["runs"]), str(b["runs"]), "", "", ""),
        (
            "Accuracy",
            _spread(a),
            _spread(b),
            points(compared["accuracy_difference"]),
            bracket(compared["accuracy_difference_ci95"]),
            p_value(compared["accuracy_difference_p"]),
        ),
        (
            "Loss",
            f"{a['loss']:.4f}",
            f"{b['loss']:.4f}",
            f"{compared['loss_difference']:+.4f}",
            "–" if losses is None else f"[{losses[0]:+.4f}, {losses[1]:+.4f}]",
            p_value(compared["loss_difference_p"]),
        ),
    )
    title = (
        f"{a['name']} (A) and {b['name']} (B), {compared['split']} part, {compared['n']:,} images"
    )
    header = ("Figure", "A", "B", "B less A", "95% interval", "p")
    loss = "; loss by a paired t test over images" if a["runs"] == 1 else ""
    return Table(title, header, rows, "lr", f"Accuracy by {compared['method']}{loss}.")


def _spread(side: dict[str, Any]) -> str:
    sd = side["accuracy_sd"]
    return percent(side["accuracy"]) + ("" if sd is None else f" ± {100 * sd:.2f}")


def _classes(compared: dict[str, Any]) -> Table:
    rows = tuple(
        (
            c["name"],
            percent(c["a"]),
            percent(c["b"]),
            points(c["difference"]),
            p_value(c["difference_p_holm"]),
        )
        for c in sorted(compared["per_class"], key=lambda c: -abs(c["difference"]))
    )
    header = ("Class", "A", "B", "B less A", "p (Holm)")
    note = "p is adjusted for the number of classes, by Holm's method."
    return Table("Where it comes from: classes", header, rows, "lr", note)


def _pairs(compared: dict[str, Any]) -> Table:
    names = compared["class_names"]
    rows = tuple(
        (
            names[pair["true"]],
            names[pair["predicted"]],
            f"{pair['a']:g}",
            f"{pair['b']:g}",
            f"{pair['b'] - pair['a']:+g}",
        )
        for pair in compared["pairs"][:PAIRS]
    )
    header = ("It is", "It was taken for", "A", "B", "B less A")
    return Table("Where it comes from: confusions, counted for one run", header, rows, "llr")
