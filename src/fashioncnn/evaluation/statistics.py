"""Means over seeds, and tests and intervals of the difference between two models.

scipy is imported inside the functions that need it, so that this module imports without it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.evaluation.metrics import wilson_interval

SIGNIFICANCE_LEVEL = 0.05
"""Probability of a type I error; confidence intervals cover 1 minus this."""

Correct = NDArray[np.bool_]
"""(n,): whether the prediction for each image is correct."""
Interval = tuple[float, float]


@dataclass(frozen=True)
class MeanStd:
    """Mean and standard deviation of a sample.

    Attributes:
        n: sample size, at least 1.
        mean: arithmetic mean.
        std: sample standard deviation (n - 1 in the denominator); None for n = 1.
    """

    n: int
    mean: float
    std: float | None

    @property
    def ci95(self) -> Interval | None:
        """95% confidence interval of the mean, by Student's t distribution; None for n = 1."""
        if self.std is None:
            return None
        from scipy.stats import t

        half = float(t.ppf(1 - SIGNIFICANCE_LEVEL / 2, self.n - 1)) * self.std / math.sqrt(self.n)
        return self.mean - half, self.mean + half

    def as_dict(self) -> dict[str, Any]:
        """Return JSON types: ``n``, ``mean``, ``std`` and ``ci95``."""
        interval = self.ci95
        ci95 = None if interval is None else list(interval)
        return {"n": self.n, "mean": self.mean, "std": self.std, "ci95": ci95}


@dataclass(frozen=True)
class Difference:
    """The difference B - A of two accuracies or means.

    Attributes:
        value: point estimate.
        ci95: 95% confidence interval; None if the sample has no variance.
        p: two-sided p-value of the null hypothesis of no difference; None likewise.
    """

    value: float
    ci95: Interval | None
    p: float | None

    @property
    def is_significant(self) -> bool:
        """Whether the test rejects at the 5% level and the interval excludes 0 as well."""
        return self.p is not None and self.p < SIGNIFICANCE_LEVEL and self.interval_excludes_zero

    @property
    def interval_excludes_zero(self) -> bool:
        """Whether both ends of the confidence interval have the same sign."""
        return self.ci95 is not None and (self.ci95[0] > 0 or self.ci95[1] < 0)

    def as_dict(self, name: str) -> dict[str, Any]:
        """Return JSON types: `name`, ``<name>_ci95`` and ``<name>_p``."""
        interval = None if self.ci95 is None else list(self.ci95)
        return {name: self.value, f"{name}_ci95": interval, f"{name}_p": self.p}


def mean_and_std(values: Sequence[float]) -> MeanStd:
    """Return sample size, mean and sample standard deviation.

    Args:
        values: at least one.
    """
    std = statistics.stdev(values) if len(values) > 1 else None
    return MeanStd(len(values), statistics.fmean(values), std)


def mcnemar_test(only_a: int, only_b: int) -> float:
    """Return the p-value of McNemar's exact test (McNemar 1947, Psychometrika 12:153).

    Args:
        only_a: number of images that only A classifies correctly.
        only_b: number of images that only B classifies correctly.
    """
    from scipy.stats import binomtest

    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_b, only_a + only_b).pvalue)


def newcombe_interval(both: int, only_a: int, only_b: int, neither: int) -> Interval:
    """Return the 95% interval of the difference of two paired proportions, B - A.

    Method 10 of Newcombe 1998, Statistics in Medicine 17:2635; within [-1, 1].

    Args:
        both: number of images that both classify correctly; the four counts must not all be 0.
        only_a: number that only A classifies correctly.
        only_b: number that only B classifies correctly.
        neither: number that neither classifies correctly.
    """
    n = both + only_a + only_b + neither
    correct_b, correct_a = both + only_b, both + only_a
    p_b, p_a = correct_b / n, correct_a / n
    (low_b, high_b), (low_a, high_a) = wilson_interval(correct_b, n), wilson_interval(correct_a, n)
    phi = _phi_coefficient(both, only_a, only_b, neither)

    def combine(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

    difference = p_b - p_a
    return (
        difference - combine(p_b - low_b, high_a - p_a),
        difference + combine(high_b - p_b, p_a - low_a),
    )


def _phi_coefficient(both: int, only_a: int, only_b: int, neither: int) -> float:
    """Return the correlation of the 2×2 table, with Newcombe's continuity correction."""
    n = both + only_a + only_b + neither
    correct_b, correct_a = both + only_b, both + only_a
    product = correct_b * (n - correct_b) * correct_a * (n - correct_a)
    excess: float = both * neither - only_a * only_b
    if excess > 0:
        excess = max(excess - n / 2, 0)
    return excess / math.sqrt(product) if product else 0.0


def paired_accuracy_difference(a: Correct, b: Correct) -> Difference:
    """Return the accuracy of B minus that of A, one run each, on the same images.

    The p-value is McNemar's, the interval Newcombe's.

    Args:
        a: (n,) of A, n at least 1.
        b: (n,) of B, in the same order.
    """
    both, only_a, only_b = int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum())
    neither = len(a) - both - only_a - only_b
    interval = newcombe_interval(both, only_a, only_b, neither)
    return Difference((only_b - only_a) / len(a), interval, mcnemar_test(only_a, only_b))


def mean_difference(a: Sequence[NDArray[Any]], b: Sequence[NDArray[Any]]) -> Difference:
    """Return the difference B - A of the means over runs and images, by a t test.

    Runs and images are crossed random factors, so the result generalizes to other seeds and to
    other images. The variance is the sum of the variances of the run means (Welch 1947, Biometrika
    34:28) and of the paired differences over images, minus their interaction, which both contain.
    Degrees of freedom follow Satterthwaite (1946, Biometrics Bulletin 2:110). With one run each,
    this is the paired t test over images.

    Args:
        a: (n,) values of each run of A, for example 0/1 correctness or losses.
        b: (n,) values of each run of B, for the same images.
    """
    run_means = [[float(run.mean()) for run in side] for side in (a, b)]
    paired = np.mean(b, axis=0) - np.mean(a, axis=0)
    estimate = float(paired.mean())
    # (variance component, its degrees of freedom)
    components = [(statistics.variance(m) / len(m), len(m) - 1) for m in run_means if len(m) > 1]
    if len(paired) > 1:
        over_runs = sum(variance for variance, _ in components)
        over_images = float(paired.var(ddof=1)) / len(paired)
        interaction = min(interaction_variance(a) + interaction_variance(b), over_runs, over_images)
        components += [(over_images, len(paired) - 1), (-interaction, len(paired) - 1)]
    return _t_difference(estimate, components)


def seed_paired_difference(a: Sequence[NDArray[Any]], b: Sequence[NDArray[Any]]) -> Difference:
    """Return the difference B - A of the means over runs and images, for runs in pairs.

    As `mean_difference`, but the variance over runs is that of the differences of the pairs, so
    that what both runs of a pair have in common cancels.

    Args:
        a: (n,) values of each run of A.
        b: (n,) values of each run of B, in the order of A's partners, for the same images.
    """
    differences = [np.subtract(y, x, dtype=np.float64) for x, y in zip(a, b, strict=True)]
    return mean_difference([np.zeros_like(differences[0])], differences)


def paired_mean_difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Return the mean of B - A by Student's paired t test, for example paired by seed."""
    return mean_difference([np.asarray(a, np.float64)], [np.asarray(b, np.float64)])


def welch_mean_difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Return the mean of B minus the mean of A by Welch's t test of independent samples."""
    return mean_difference(*([np.asarray([x], np.float64) for x in side] for side in (a, b)))


def interaction_variance(runs: Sequence[NDArray[Any]]) -> float:
    """Return the run × image interaction's contribution to the variance of the grand mean.

    This is the residual mean square of a two-way layout without replication, divided by its size;
    0 for a single run.

    Args:
        runs: (n,) values of each run, n at least 2.
    """
    values = np.asarray(runs, np.float64)
    k, n = values.shape
    if k < 2:
        return 0.0
    residuals = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    return float((residuals**2).sum() / ((k - 1) * (n - 1)) / (k * n))


def holm_adjust(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for multiple tests (Holm 1979, Scand. J. Statist. 6:65).

    Args:
        p_values: None where there was no test; not counted, and None in the result.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[index] = largest
    return adjusted


def _t_difference(estimate: float, components: Sequence[tuple[float, int]]) -> Difference:
    """Return the t test of an estimate whose variance is the sum of the components."""
    variance = sum(component for component, _ in components)
    if variance <= 0:
        return Difference(estimate, None, None)
    from scipy.stats import t

    degrees = variance**2 / sum(component**2 / df for component, df in components)
    error = math.sqrt(variance)
    half_width = float(t.ppf(1 - SIGNIFICANCE_LEVEL / 2, degrees)) * error
    p = float(2 * t.sf(abs(estimate) / error, degrees))
    return Difference(estimate, (estimate - half_width, estimate + half_width), p)
