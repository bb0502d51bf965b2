"""A comparison in plain words, and as tables."""

from __future__ import annotations

from typing import Any

from fashioncnn.reporting.tables import Table, percent

PAIRS = 8
"""Changed confusions that are shown."""


def verdict(compared: dict[str, Any]) -> str:
    """Return whether the difference can be trusted, and how far, in a few sentences."""
    a, b = compared["a"], compared["b"]
    difference = compared["accuracy_difference"]
    low, high = compared["accuracy_difference_ci95"]
    said = f"{points(difference)} points [{points(low)}, {points(high)}]"
    p = compared["accuracy_difference_p"]
    chance = "nothing varies to test by" if p is None else f"p {p_value(p)}"
    if not compared["trusted"]:
        first = f"No difference that can be trusted: B less A is {said}, {chance}."
    else:
        better, worse = ("B", "A") if difference > 0 else ("A", "B")
        first = (
            f"{better} is better than {worse}, and that can be trusted: B less A is {said}, "
            f"{chance}."
        )
    if a["runs"] == 1:
        second = (
            "It is about these two networks, whatever pictures of this kind they are shown; other "
            "seeds may give another difference (train several of each, and compare those)."
        )
    else:
        inside, outside = compared["accuracy_difference_pictures_ci95"]
        second = (
            f"It is about what other seeds would give, {a['runs']} and {b['runs']} runs; with "
            f"other pictures instead, it would lie in [{points(inside)}, {points(outside)}]."
        )
    return f"{first} {second}"


def comparison_tables(compared: dict[str, Any]) -> list[Table]:
    """Return the figures, the classes and the pairs that a difference comes from."""
    return [_figures(compared), _classes(compared), _pairs(compared)]


def points(share: float) -> str:
    """Return a difference of shares in signed percentage points."""
    return f"{100 * share:+.2f}"


def p_value(p: float | None) -> str:
    """Return a p value with as many digits as it is worth."""
    if p is None:
        return "–"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _figures(compared: dict[str, Any]) -> Table:
    a, b = compared["a"], compared["b"]
    low, high = compared["accuracy_difference_ci95"]
    least, most = compared["loss_difference_ci95"]
    rows = (
        ("Runs", str(a["runs"]), str(b["runs"]), "", "", ""),
        (
            "Accuracy",
            _spread(a),
            _spread(b),
            points(compared["accuracy_difference"]),
            f"{points(low)} to {points(high)}",
            p_value(compared["accuracy_difference_p"]),
        ),
        (
            "Loss",
            f"{a['loss']:.4f}",
            f"{b['loss']:.4f}",
            f"{compared['loss_difference']:+.4f}",
            f"{least:+.4f} to {most:+.4f}",
            p_value(compared["loss_difference_p"]),
        ),
    )
    title = (
        f"{a['name']} (A) and {b['name']} (B), {compared['split']} part, {compared['n']:,} pictures"
    )
    header = ("Figure", "A", "B", "B less A", "95% interval", "p")
    return Table(title, header, rows, "lr", f"Accuracy by {compared['method']}.")


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
    header = ("Class", "A", "B", "B less A", "p, for so many classes (Holm)")
    return Table("Where it comes from: classes", header, rows)


def _pairs(compared: dict[str, Any]) -> Table:
    names = {c["code"]: c["name"] for c in compared["per_class"]}
    rows = tuple(
        (
            names.get(pair["true"], str(pair["true"])),
            names.get(pair["predicted"], str(pair["predicted"])),
            f"{pair['a']:g}",
            f"{pair['b']:g}",
            f"{pair['b'] - pair['a']:+g}",
        )
        for pair in compared["pairs"][:PAIRS]
    )
    header = ("It is", "It was taken for", "A", "B", "B less A")
    return Table("Where it comes from: confusions, a run", header, rows, "llr")
