"""Statistics of repeated measurements, and Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation; the latter is NaN for a single value."""
    std = statistics.stdev(values) if len(values) > 1 else float("nan")
    return statistics.fmean(values), std


def format_mean_std(values: Sequence[float], scale: float = 1.0, digits: int = 4) -> str:
    """Return ``mean ± std``, or the value alone if there is only one."""
    mean, std = mean_and_std(values)
    text = f"{scale * mean:.{digits}f}"
    return f"{text} ± {scale * std:.{digits}f}" if len(values) > 1 else text


def format_range(values: Sequence[float], digits: int = 0) -> str:
    """Return ``median [minimum – maximum]``."""
    low, median, high = min(values), statistics.median(values), max(values)
    return f"{median:,.{digits}f} [{low:,.{digits}f} – {high:,.{digits}f}]"


@dataclass(frozen=True)
class Difference:
    """A difference of two means.

    Attributes:
        value: the difference.
        ci95: its 95% confidence interval; None for a single pair of values.
        p: of the two-sided test of no difference; None for a single pair of values.
    """

    value: float
    ci95: tuple[float, float] | None = None
    p: float | None = None

    def format(self, digits: int) -> str:
        """Return ``difference [low, high]``."""
        text = f"{self.value:+.{digits}f}"
        if self.ci95 is None:
            return text
        low, high = self.ci95
        return f"{text} [{low:+.{digits}f}, {high:+.{digits}f}]"


def paired_difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Return `after` minus `before`, paired by position, with Student's paired t test."""
    from scipy import stats

    value = statistics.fmean(after) - statistics.fmean(before)
    if len(before) < 2:
        return Difference(value)
    result = stats.ttest_rel(after, before)
    low, high = result.confidence_interval(0.95)
    return Difference(value, (float(low), float(high)), float(result.pvalue))


def welch_difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Return the mean of `after` minus that of `before`, unpaired, with Welch's t test."""
    from scipy import stats

    value = statistics.fmean(after) - statistics.fmean(before)
    result = stats.ttest_ind(after, before, equal_var=False)
    low, high = result.confidence_interval(0.95)
    return Difference(value, (float(low), float(high)), float(result.pvalue))


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
