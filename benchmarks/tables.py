"""Statistics of repeated measurements, and Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MeanStd:
    """Mean and standard deviation of a sample.

    Attributes:
        n: sample size, at least 1.
        mean: arithmetic mean.
        std: sample standard deviation; None for n = 1.
    """

    n: int
    mean: float
    std: float | None


@dataclass(frozen=True)
class Difference:
    """A difference of two means.

    Attributes:
        value: the difference.
        ci95: its 95% confidence interval; None for a single pair of values.
        p: two-sided p-value of no difference; None for a single pair of values.
    """

    value: float
    ci95: tuple[float, float] | None = None
    p: float | None = None


def mean_and_std(values: Sequence[float]) -> MeanStd:
    """Return sample size, mean and sample standard deviation."""
    std = statistics.stdev(values) if len(values) > 1 else None
    return MeanStd(len(values), statistics.fmean(values), std)


def paired_mean_difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Return the mean of B - A, paired by position, by Student's paired t test."""
    from scipy import stats

    value = statistics.fmean(b) - statistics.fmean(a)
    if len(a) < 2:
        return Difference(value)
    result = stats.ttest_rel(b, a)
    low, high = result.confidence_interval(0.95)
    return Difference(value, (float(low), float(high)), float(result.pvalue))


def welch_mean_difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Return the mean of B minus the mean of A by Welch's t test of independent samples."""
    from scipy import stats

    value = statistics.fmean(b) - statistics.fmean(a)
    result = stats.ttest_ind(b, a, equal_var=False)
    low, high = result.confidence_interval(0.95)
    return Difference(value, (float(low), float(high)), float(result.pvalue))


def format_mean_std(values: Sequence[float], scale: float = 1.0, digits: int = 4) -> str:
    """Return ``mean ± std``, or the value alone if there is only one."""
    sample = mean_and_std(values)
    text = f"{scale * sample.mean:.{digits}f}"
    return text if sample.std is None else f"{text} ± {scale * sample.std:.{digits}f}"


def format_difference(difference: Difference, digits: int) -> str:
    """Return ``difference [low, high]``."""
    text = f"{difference.value:+.{digits}f}"
    if difference.ci95 is None:
        return text
    low, high = difference.ci95
    return f"{text} [{low:+.{digits}f}, {high:+.{digits}f}]"


def format_range(values: Sequence[float], digits: int = 0) -> str:
    """Return ``median [minimum – maximum]``."""
    low, median, high = min(values), statistics.median(values), max(values)
    return f"{median:,.{digits}f} [{low:,.{digits}f} – {high:,.{digits}f}]"


def markdown_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)
) -> str:
    """Return a Markdown table.

    Args:
        columns: titles.
        rows: cells of each row.
        left: indices of the left-aligned columns; the others are right-aligned.
    """
    rules = ["---" if at in left else "---:" for at in range(len(columns))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rules, *rows))
