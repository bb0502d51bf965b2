"""Is B better than A? Tests and intervals of the difference on the same images.

With one run each, what varies is the images: McNemar's exact test, and Newcombe's interval of the
difference of paired shares. With several runs each, seeds vary too: a t test whose variance is that
of the runs' means (Welch) and that of the images together, with Satterthwaite's degrees of
freedom, so that a difference that is trusted holds for other seeds and for other images at once.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.evaluation.metrics import Labels, Logits, log_softmax, wilson_interval

PAIRED = "McNemar's exact test, Newcombe's interval"
SEVERAL = "a t test over seeds and images together"
LEVEL = 0.05
"""Probability of an error of the first kind that a trusted difference is allowed."""

Right = NDArray[np.bool_]
"""(n,): whether each image was named rightly."""


@dataclass(frozen=True)
class Group:
    """One run, or several that differ in their seeds, judged on the same images.

    Attributes:
        name: to tell it by.
        logits: (n, classes) float32 of each run.
    """

    name: str
    logits: Sequence[Logits]


@dataclass(frozen=True)
class Difference:
    """Of B less A.

    Attributes:
        value: the difference.
        ci95: its 95% interval, by the method that the comparison names; None where nothing varies.
        p: of no difference, two-sided; likewise.
    """

    value: float
    ci95: tuple[float, float] | None
    p: float | None

    @property
    def is_trusted(self) -> bool:
        """Whether both test and interval speak against no difference."""
        return self.p is not None and self.p < LEVEL and self.interval_excludes_zero

    @property
    def interval_excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.ci95 is not None and (self.ci95[0] > 0 or self.ci95[1] < 0)

    def as_dict(self, name: str) -> dict[str, Any]:
        """Return JSON types under `name`."""
        interval = None if self.ci95 is None else list(self.ci95)
        return {name: self.value, f"{name}_ci95": interval, f"{name}_p": self.p}


def compare_groups(
    a: Group, b: Group, labels: Labels, class_names: Sequence[str]
) -> dict[str, Any]:
    """Return the comparison of B with A, as JSON types.

    Args:
        a: what is compared with.
        b: what is compared; one run where `a` is one, several where `a` is several.
        labels: (n,) uint8.
        class_names: by label.

    Raises:
        ValueError: one side is one run, and the other several.
    """
    if (len(a.logits) == 1) != (len(b.logits) == 1):
        raise ValueError(
            "one run and several cannot be compared: how A's or B's seeds vary is unknown"
        )
    single = len(a.logits) == 1
    right = [[(x.argmax(1) == labels) for x in group.logits] for group in (a, b)]
    losses = [[_losses(x, labels) for x in group.logits] for group in (a, b)]
    accuracy = _accuracy_difference(right[0], right[1])
    return {
        "schema": 1,
        "n": len(labels),
        "class_names": list(class_names),
        "a": _side(a, right[0], losses[0]),
        "b": _side(b, right[1], losses[1]),
        "method": PAIRED if single else SEVERAL,
        **accuracy.as_dict("accuracy_difference"),
        **_t_difference(losses[0], losses[1]).as_dict("loss_difference"),
        "trusted": accuracy.is_trusted,
        "per_class": _per_class(right[0], right[1], labels, class_names),
        "pairs": _pairs(a, b, labels),
    }


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the p value of McNemar's exact test (McNemar 1947, Psychometrika 12:153).

    Args:
        only_a: images that A alone names rightly.
        only_b: images that B alone names rightly.
    """
    from scipy.stats import binomtest

    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_b, only_a + only_b).pvalue)


def newcombe_interval(both: int, only_a: int, only_b: int, neither: int) -> tuple[float, float]:
    """Return the 95% interval of B's share less A's, of the same images.

    Method 10 of Newcombe 1998, Statistics in Medicine 17:2635; within [-1, 1].

    Args:
        both: how many images both named rightly; not all four may be 0.
        only_a: A alone.
        only_b: B alone.
        neither: neither of them.
    """
    n = both + only_a + only_b + neither
    right_b, right_a = both + only_b, both + only_a
    p_b, p_a = right_b / n, right_a / n
    (low_b, high_b), (low_a, high_a) = wilson_interval(right_b, n), wilson_interval(right_a, n)
    product = right_b * (n - right_b) * right_a * (n - right_a)
    excess: float = both * neither - only_a * only_b
    if excess > 0:
        excess = max(excess - n / 2, 0)  # a correction for continuity
    phi = excess / math.sqrt(product) if product else 0.0

    def reach(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

    difference = p_b - p_a
    return (
        difference - reach(p_b - low_b, high_a - p_a),
        difference + reach(high_b - p_b, p_a - low_a),
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values adjusted for their number (Holm 1979, Scand. J. Statist. 6:65)."""
    known = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, at) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[at] = largest
    return adjusted


def _losses(logits: Logits, labels: Labels) -> NDArray[np.float64]:
    """Return each image's negative log-probability of its label, in nats."""
    losses: NDArray[np.float64] = -log_softmax(logits)[np.arange(len(labels)), labels]
    return losses


def _side(group: Group, right: list[Right], losses: list[NDArray[np.float64]]) -> dict[str, Any]:
    accuracies = [float(r.mean()) for r in right]
    several = len(accuracies) > 1
    return {
        "name": group.name,
        "runs": len(accuracies),
        "accuracy": statistics.fmean(accuracies),
        "accuracy_sd": statistics.stdev(accuracies) if several else None,
        "loss": float(np.mean([x.mean() for x in losses])),
    }


def _accuracy_difference(a: list[Right], b: list[Right]) -> Difference:
    if len(a) > 1:
        return _t_difference(a, b)
    both, only_a, only_b = ((a[0] & b[0]).sum(), (a[0] & ~b[0]).sum(), (~a[0] & b[0]).sum())
    counts = int(both), int(only_a), int(only_b)
    n = len(a[0])
    interval = newcombe_interval(*counts, n - sum(counts))
    return Difference((counts[2] - counts[1]) / n, interval, mcnemar(*counts[1:]))


def _t_difference(a: Sequence[NDArray[Any]], b: Sequence[NDArray[Any]]) -> Difference:
    """Return the difference of means over runs and images.

    The variances of the runs' means (Welch 1947, Biometrika 34:28) and of the mean run's paired
    differences over images are added. What single runs say of single images is in both, and
    taken off once, as in a two-way analysis of variance; no more than the smaller of the two. The
    degrees of freedom are Satterthwaite's (1946, Biometrics Bulletin 2:110). With one run each,
    images are all that varies.

    Args:
        a: (n,) of each run.
        b: likewise, of the same images.
    """
    means = [[float(run.mean()) for run in side] for side in (a, b)]
    paired = np.mean(b, axis=0) - np.mean(a, axis=0)
    middle = float(paired.mean())
    parts = [(statistics.variance(m) / len(m), len(m) - 1) for m in means if len(m) > 1]
    if len(paired) > 1:
        of_runs, of_images = sum(v for v, _ in parts), float(paired.var(ddof=1)) / len(paired)
        forward_pair = min(sum(map(_interaction, (a, b))), of_runs, of_images)
        parts += [(of_images, len(paired) - 1), (-forward_pair, len(paired) - 1)]
    total = sum(part for part, _ in parts)
    if total <= 0:
        return Difference(middle, None, None)
    from scipy.stats import t

    freedom = total**2 / sum(part**2 / degrees for part, degrees in parts)
    error = math.sqrt(total)
    half = float(t.ppf(1 - LEVEL / 2, freedom)) * error
    p = float(2 * t.sf(abs(middle) / error, freedom))
    return Difference(middle, (middle - half, middle + half), p)


def _interaction(runs: Sequence[NDArray[Any]]) -> float:
    """Return the variance of a side's mean that is of single runs on single images."""
    values = np.asarray(runs, np.float64)
    k, n = values.shape
    if k < 2:
        return 0.0
    rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    return float((rest**2).sum() / ((k - 1) * (n - 1)) / (k * n))


def _per_class(
    a: list[Right], b: list[Right], labels: Labels, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for code, name in enumerate(class_names):
        mine = labels == code
        if not mine.any():
            continue
        difference = _accuracy_difference([r[mine] for r in a], [r[mine] for r in b])
        shares = (float(np.mean([r[mine].mean() for r in group])) for group in (a, b))
        row = dict(zip(("a", "b"), shares, strict=True)) | difference.as_dict("difference")
        rows.append({"code": code, "name": name, "n": int(mine.sum()), **row})
    for row, p in zip(rows, holm([row["difference_p"] for row in rows]), strict=True):
        row["difference_p_holm"] = p
    return rows


def _pairs(a: Group, b: Group, labels: Labels) -> list[dict[str, Any]]:
    """Return the confusions of both, as counts a run, those that changed most first."""
    classes = a.logits[0].shape[1]
    counts = []
    for group in (a, b):
        flat = [labels.astype(np.int64) * classes + x.argmax(1) for x in group.logits]
        counts.append(np.mean([np.bincount(f, minlength=classes**2) for f in flat], axis=0))
    pairs = [
        {"true": at // classes, "predicted": at % classes, "a": float(x), "b": float(y)}
        for at, (x, y) in enumerate(zip(*counts, strict=True))
        if at // classes != at % classes and x != y
    ]
    return sorted(pairs, key=lambda p: (-abs(p["b"] - p["a"]), p["true"], p["predicted"]))
