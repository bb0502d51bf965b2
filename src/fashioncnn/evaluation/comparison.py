"""Comparison of two runs, or of two groups of runs, on the same images: is B better than A?

With one run each, images are the only random factor: McNemar's exact test and Newcombe's interval
of paired proportions. With several runs each, seeds and images are both random factors; see
`fashioncnn.evaluation.statistics.mean_difference` and `seed_paired_difference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.evaluation.metrics import Labels, Logits, log_softmax
from fashioncnn.evaluation.statistics import (
    Correct,
    Difference,
    holm_adjust,
    mean_and_std,
    mean_difference,
    paired_accuracy_difference,
    seed_paired_difference,
)
from fashioncnn.settings import SCHEMA

SINGLE_RUNS = "McNemar's exact test, Newcombe's interval"
SEVERAL_RUNS = "t test with seeds and images as random factors"
PAIRED_RUNS = "t test with seeds and images as random factors, paired by seed"

Run = tuple[Logits, Labels]
"""(n, classes) float32 logits, and (n,) uint8 labels."""


@dataclass(frozen=True)
class Group:
    """One run, or several runs that differ only in their seed, evaluated on the same images.

    Attributes:
        name: label in tables.
        logits: (n, classes) float32 of each run.
        seeds: of each run; None if they are not known.
        labels: (n,) uint8 of each run, which differ where several classes are correct for an image:
            the label is then the most probable of them. None if they are those of the comparison.
    """

    name: str
    logits: Sequence[Logits]
    seeds: Sequence[int] | None = None
    labels: Sequence[Labels] | None = None


def compare_groups(
    a: Group, b: Group, labels: Labels, class_names: Sequence[str]
) -> dict[str, Any]:
    """Return the comparison of B with A as JSON types; differences are B - A.

    Args:
        a: the reference.
        b: the candidate; one run if `a` is one run, several if `a` is several.
        labels: (n,) uint8, by which images are divided into classes.
        class_names: by label.

    Raises:
        ValueError: one group has a single run and the other has several.

    Several runs with the same seeds on both sides are compared in pairs of the same seed, which
    have initial weights, data order and augmentation in common as far as the settings allow.
    """
    if (len(a.logits) == 1) != (len(b.logits) == 1):
        raise ValueError(
            "cannot compare one run with several: the variance over seeds of one side is unknown"
        )
    paired = _are_paired(a, b)
    if paired:
        a, b = _by_seed(a), _by_seed(b)
    runs = [_runs(group, labels) for group in (a, b)]
    correct = [[x.argmax(1) == own for x, own in of_group] for of_group in runs]
    losses = [[_losses(x, own) for x, own in of_group] for of_group in runs]
    accuracy = _accuracy_difference(correct[0], correct[1], paired)
    return {
        "schema": SCHEMA,
        "n": len(labels),
        "class_names": list(class_names),
        "a": _summary(a, correct[0], losses[0]),
        "b": _summary(b, correct[1], losses[1]),
        "method": PAIRED_RUNS if paired else SEVERAL_RUNS if len(a.logits) > 1 else SINGLE_RUNS,
        "paired_by_seed": paired,
        **accuracy.as_dict("accuracy_difference"),
        **_mean_difference(losses[0], losses[1], paired).as_dict("loss_difference"),
        "trusted": accuracy.is_significant,
        "per_class": _per_class(correct[0], correct[1], labels, class_names, paired),
        "pairs": _changed_confusions(*runs),
    }


def _runs(group: Group, labels: Labels) -> list[Run]:
    """Return logits and labels of each run."""
    of_runs = [labels] * len(group.logits) if group.labels is None else group.labels
    return list(zip(group.logits, of_runs, strict=True))


def _losses(logits: Logits, labels: Labels) -> NDArray[np.float64]:
    """Return the cross-entropy of each image, (n,) in nats."""
    losses: NDArray[np.float64] = -log_softmax(logits)[np.arange(len(labels)), labels]
    return losses


def _are_paired(a: Group, b: Group) -> bool:
    """Return whether both groups have several runs with the same seeds."""
    if len(a.logits) == 1 or a.seeds is None or b.seeds is None:
        return False
    return sorted(a.seeds) == sorted(b.seeds)


def _by_seed(group: Group) -> Group:
    assert group.seeds is not None  # noqa: S101 - for the type checker
    order = np.argsort(group.seeds)
    return Group(
        group.name,
        [group.logits[i] for i in order],
        [group.seeds[i] for i in order],
        None if group.labels is None else [group.labels[i] for i in order],
    )


def _accuracy_difference(a: list[Correct], b: list[Correct], paired: bool) -> Difference:
    if len(a) == 1:
        return paired_accuracy_difference(a[0], b[0])
    return _mean_difference(a, b, paired)


def _mean_difference(
    a: Sequence[NDArray[Any]], b: Sequence[NDArray[Any]], paired: bool
) -> Difference:
    return seed_paired_difference(a, b) if paired else mean_difference(a, b)


def _summary(
    group: Group, correct: list[Correct], losses: list[NDArray[np.float64]]
) -> dict[str, Any]:
    accuracy = mean_and_std([float(c.mean()) for c in correct])
    return {
        "name": group.name,
        "runs": accuracy.n,
        "accuracy": accuracy.mean,
        "accuracy_sd": accuracy.std,
        "loss": float(np.mean([x.mean() for x in losses])),
    }


def _per_class(
    a: list[Correct],
    b: list[Correct],
    labels: Labels,
    class_names: Sequence[str],
    paired: bool,
) -> list[dict[str, Any]]:
    """Return accuracies, difference and adjusted p-value of each class that has images."""
    rows: list[dict[str, Any]] = []
    for code, name in enumerate(class_names):
        in_class = labels == code
        if not in_class.any():
            continue
        sides = [[correct[in_class] for correct in group] for group in (a, b)]
        accuracy_a, accuracy_b = (float(np.mean([c.mean() for c in side])) for side in sides)
        row = {"code": code, "name": name, "n": int(in_class.sum()), "a": accuracy_a}
        rows.append(
            row
            | {
                "b": accuracy_b,
                **_accuracy_difference(sides[0], sides[1], paired).as_dict("difference"),
            }
        )
    for row, p in zip(rows, holm_adjust([row["difference_p"] for row in rows]), strict=True):
        row["difference_p_holm"] = p
    return rows


def _changed_confusions(a: list[Run], b: list[Run]) -> list[dict[str, Any]]:
    """Return confusion counts per run that differ between A and B, largest change first."""
    classes = a[0][0].shape[1]
    counts = []
    for group in (a, b):
        flat = [own.astype(np.int64) * classes + x.argmax(1) for x, own in group]
        counts.append(np.mean([np.bincount(f, minlength=classes**2) for f in flat], axis=0))
    pairs = [
        {"true": cell // classes, "predicted": cell % classes, "a": float(x), "b": float(y)}
        for cell, (x, y) in enumerate(zip(*counts, strict=True))
        if cell // classes != cell % classes and x != y
    ]
    return sorted(pairs, key=lambda p: (-abs(p["b"] - p["a"]), p["true"], p["predicted"]))
