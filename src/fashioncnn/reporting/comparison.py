"""Result of ``compare``: a verdict in words, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fashioncnn.evaluation.statistics import SIGNIFICANCE_LEVEL, MeanStd
from fashioncnn.reporting.tables import Table, format_mean_std, percent

PAIRS_SHOWN = 8
"""Changed confusions in the table."""


def verdict(comparison: dict[str, Any]) -> str:
    """Return in a few sentences whether A and B differ significantly, and how far that holds.

    Args:
        comparison: of `fashioncnn.evaluation.comparison.compare_groups`.
    """
    return f"{_conclusion(comparison)} {_scope(comparison)}"


def comparison_tables(comparison: dict[str, Any]) -> list[Table]:
    """Return the tables of metrics, classes and changed confusions."""
    return [_metrics_table(comparison), _per_class_table(comparison), _pairs_table(comparison)]


def points(fraction: float) -> str:
    """Return a difference of fractions in signed percentage points."""
    return f"{100 * fraction + 0.0:+.2f}".replace("-0.00", "+0.00")


def points_interval(interval: Sequence[float] | None) -> str:
    """Return an interval of differences in signed percentage points; ``–`` for None."""
    return "–" if interval is None else f"[{points(interval[0])}, {points(interval[1])}]"


def p_value(p: float | None) -> str:
    """Return a p-value with two significant digits; ``–`` for None."""
    if p is None:
        return "–"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _conclusion(comparison: dict[str, Any]) -> str:
    difference, p = comparison["accuracy_difference"], comparison["accuracy_difference_p"]
    interval, level = comparison["accuracy_difference_ci95"], f"{SIGNIFICANCE_LEVEL:.0%}"
    estimate = f"B − A = {points(difference)} percentage points"
    if interval is None:
        return (
            f"The difference in accuracy cannot be tested ({estimate}): the sample has no "
            "variance. Use more seeds or more images."
        )
    equals = "" if p < 1e-4 else "= "
    estimate += f", 95% confidence interval {points_interval(interval)}, p {equals}{p_value(p)}"
    if comparison["trusted"]:
        better, worse = ("B", "A") if difference > 0 else ("A", "B")
        return (
            f"{better} is more accurate than {worse}: the difference is significant at the {level} "
            f"level ({estimate})."
        )
    if (p < SIGNIFICANCE_LEVEL) != (interval[0] > 0 or interval[1] < 0):
        return (
            f"The difference in accuracy is borderline, and counts as not significant at the "
            f"{level} level: the test and the confidence interval disagree ({estimate})."
        )
    return f"The difference in accuracy is not significant at the {level} level ({estimate})."


def _scope(comparison: dict[str, Any]) -> str:
    a, b = comparison["a"], comparison["b"]
    if a["runs"] == 1:
        return (
            "The result holds for these two models and new images from the same distribution, not "
            "for other seeds: to compare two methods, train each with several seeds and compare "
            "the folders."
        )
    return (
        "The result generalizes to other seeds and to new images from the same distribution; it is "
        f"based on {a['runs']} and {b['runs']} runs and {comparison['n']:,} images."
    )


def _metrics_table(comparison: dict[str, Any]) -> Table:
    a, b = comparison["a"], comparison["b"]
    loss_interval = comparison["loss_difference_ci95"]
    rows = (
        ("Runs", str(a["runs"]), str(b["runs"]), "", "", ""),
        (
            "Accuracy",
            _accuracy(a),
            _accuracy(b),
            points(comparison["accuracy_difference"]),
            points_interval(comparison["accuracy_difference_ci95"]),
            p_value(comparison["accuracy_difference_p"]),
        ),
        (
            "Loss",
            f"{a['loss']:.4f}",
            f"{b['loss']:.4f}",
            f"{comparison['loss_difference']:+.4f}",
            "–" if loss_interval is None else "[{:+.4f}, {:+.4f}]".format(*loss_interval),
            p_value(comparison["loss_difference_p"]),
        ),
    )
    title = (
        f"{a['name']} (A) and {b['name']} (B), {comparison['split']} split, "
        f"{comparison['n']:,} images"
    )
    header = ("Metric", "A", "B", "B − A", "95% interval", "p")
    loss_method = "; loss: paired t test over images" if a["runs"] == 1 else ""
    return Table(title, header, rows, "lr", f"Accuracy: {comparison['method']}{loss_method}.")


def _accuracy(group: dict[str, Any]) -> str:
    """Return the accuracy, with its standard deviation over seeds."""
    value = MeanStd(group["runs"], group["accuracy"], group["accuracy_sd"])
    return format_mean_std(value, scale=100, digits=2, unit="%")


def _per_class_table(comparison: dict[str, Any]) -> Table:
    rows = tuple(
        (
            c["name"],
            percent(c["a"]),
            percent(c["b"]),
            points(c["difference"]),
            p_value(c["difference_p_holm"]),
        )
        for c in sorted(comparison["per_class"], key=lambda c: -abs(c["difference"]))
    )
    header = ("Class", "A", "B", "B − A", "p (Holm)")
    note = "p is adjusted for the number of classes by Holm's method."
    return Table("Accuracy by class, largest difference first", header, rows, "lr", note)


def _pairs_table(comparison: dict[str, Any]) -> Table:
    names = comparison["class_names"]
    rows = tuple(
        (
            names[pair["true"]],
            names[pair["predicted"]],
            f"{pair['a']:g}",
            f"{pair['b']:g}",
            f"{pair['b'] - pair['a']:+g}",
        )
        for pair in comparison["pairs"][:PAIRS_SHOWN]
    )
    header = ("True class", "Predicted class", "A", "B", "B − A")
    return Table("Confusions per run, largest change first", header, rows, "llr")
