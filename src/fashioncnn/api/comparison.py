"""Is one classifier better than another? As ``fashioncnn compare``, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from fashioncnn.api.classifier import Classifier
from fashioncnn.api.evaluation import Evaluation
from fashioncnn.api.messages import python_messages
from fashioncnn.errors import DataError, UsageError
from fashioncnn.evaluation.comparison import Group, compare_groups
from fashioncnn.reporting.comparison import comparison_tables, verdict
from fashioncnn.reporting.html import table_html
from fashioncnn.reporting.run_comparison import compare_runs

Candidate: TypeAlias = Classifier | Evaluation | str | Path
"""A classifier, its evaluation, or the name of a run, model folder or bundled model."""


class Comparison(dict[str, Any]):
    """The comparison of B with A, by the keys of ``fashioncnn compare --json``."""

    @property
    def difference(self) -> float:
        """Accuracy of B less that of A."""
        return float(self["accuracy_difference"])

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% confidence interval of the difference; None if the sample has no variance."""
        limits = self["accuracy_difference_ci95"]
        return None if limits is None else (limits[0], limits[1])

    @property
    def p(self) -> float | None:
        """p-value of the difference; None if the sample has no variance."""
        value: float | None = self["accuracy_difference_p"]
        return value

    @property
    def verdict(self) -> str:
        """Whether A and B differ significantly, and how far that holds."""
        return str(self["verdict"])

    def __repr__(self) -> str:
        a, b = self["a"], self["b"]
        return (
            f"Comparison(A={a['name']} {a['accuracy']:.4f}, B={b['name']} {b['accuracy']:.4f}, "
            f"n={self['n']:,}, p={self.p})"
        )

    def _repr_html_(self) -> str:
        tables = "".join(table_html(table) for table in comparison_tables(self))
        return f"<div><p><b>{escape(self.verdict)}</b></p>{tables}</div>"


@python_messages()
def compare(
    a: Candidate | Sequence[Candidate],
    b: Candidate | Sequence[Candidate],
    images: Any = None,
    labels: Any = None,
    *,
    split: str = "auto",
) -> Comparison:
    """Return whether B is better than A, by paired tests on the same images.

    Two runs, or two folders of runs with several seeds, are compared by their stored predictions.
    Everything else is evaluated first.

    Args:
        a: a classifier, an evaluation, or the name of a run or model; a list of those that differ
            only in their seed.
        b: the same; a list if `a` is a list.
        images: what to evaluate on, as for `Classifier.evaluate`; not for evaluations, and for two
            runs only to compare them on other data.
        labels: of the images.
        split: of stored predictions: ``validation``, ``test``, or ``auto``: validation if all runs
            hold out the same images, else test.

    Raises:
        UsageError: an argument is of an unsupported type, or the two cannot be compared.
        DataError: they were evaluated on different images, or have other classes.
    """
    if split not in ("auto", "validation", "test"):
        raise UsageError(f"compare: split = {split!r}: should be auto, validation or test")
    if images is None and _is_run_path(a) and _is_run_path(b):
        return Comparison(compare_runs(Path(a), Path(b), split, _ignore))  # type: ignore[arg-type]
    if isinstance(images, Iterator):
        images = list(images)  # each candidate is evaluated on them
    groups = [_evaluations(side, images, labels) for side in (a, b)]
    if (len(groups[0]) == 1) != (len(groups[1]) == 1):
        raise UsageError("compare: one model with one, or several seeds with several seeds")
    first = groups[0][0]
    for other in (*groups[0], *groups[1]):
        _require_same_images(first, other)
    names = _names(a, b)
    sides = [
        Group(name, [evaluation.logits for evaluation in group])
        for name, group in zip(names, groups, strict=True)
    ]
    comparison = {
        "split": first["split"],
        **compare_groups(sides[0], sides[1], first.labels, first.class_names),
    }
    return Comparison(comparison, verdict=verdict(comparison))


def _evaluations(side: Any, images: Any, labels: Any) -> list[Evaluation]:
    candidates = side if isinstance(side, list | tuple) else [side]
    if not candidates:
        raise UsageError("compare: an empty list; name at least one model")
    return [_evaluation(candidate, images, labels) for candidate in candidates]


def _evaluation(candidate: Any, images: Any, labels: Any) -> Evaluation:
    if isinstance(candidate, Evaluation):
        return candidate
    if isinstance(candidate, str | Path):
        candidate = Classifier.load(candidate)
    if isinstance(candidate, Classifier):
        return candidate.evaluate(images, labels)
    raise UsageError(
        f"compare: {type(candidate).__name__}: should be a classifier, an evaluation, or the name "
        "of a run or model"
    )


def _require_same_images(a: Evaluation, b: Evaluation) -> None:
    if a.class_names != b.class_names:
        raise DataError(
            f"compare: different classes ({', '.join(a.class_names[:3])} … and "
            f"{', '.join(b.class_names[:3])} …)"
        )
    if not np.array_equal(a.labels, b.labels):
        raise DataError("compare: evaluated on different images; evaluate both on the same ones")


def _is_run_path(side: Any) -> bool:
    """Return whether this is a run folder, or a folder of runs."""
    if not isinstance(side, str | Path):
        return False
    folder = Path(side)
    return (folder / "config.toml").exists() or any(folder.glob("*/config.toml"))


def _names(a: Any, b: Any) -> tuple[str, str]:
    """Return the names of models that have one, else their letters."""
    names = [Path(x).name if isinstance(x, str | Path) else "" for x in (a, b)]
    return (names[0], names[1]) if all(names) and names[0] != names[1] else ("A", "B")


def _ignore(message: str) -> None:
    """Ignore a note about the runs."""
