"""The classes of a dataset as those of a model, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.options import Notify, ignore
from fashioncnn.errors import DataError, UsageError, nearest

_INTEGER = re.compile(r"\d{1,9}")
LEFT_OUT = -1


class UnknownClassError(DataError):
    """A class of a dataset is not one of the model's.

    Args:
        source: of the dataset.
        name: of the class.
        labels: class names of the model.
    """

    def __init__(self, source: str, name: str, labels: Sequence[str]) -> None:
        few = ", ".join(labels[:3]) + (" …" if len(labels) > 3 else "")
        super().__init__(
            f"{source}: class '{name}' is not one of the model's ({few}){nearest(name, labels)}; "
            "map it to one of them"
        )
        self.name = name


def align_classes(
    dataset: Dataset,
    labels: tuple[str, ...],
    mapping: Mapping[str, Sequence[str]] | None = None,
    notify: Notify = ignore,
) -> Dataset:
    """Return the dataset with the class names of a model, and labels that are positions in them.

    Classes are found by name, else without regard to case and punctuation (``ankle_boot`` is
    ``Ankle boot``). Names that are all integers are the labels 0, 1 … of a model whose names are
    not. The dataset may lack classes of the model.

    Args:
        dataset: to evaluate on.
        labels: class names of the model.
        mapping: the name of the model's class by a name of the dataset's; without any, images of
            this class are left out. Of several, the first is the label.
        notify: called with a message about integers, and about images that are left out.

    Raises:
        UnknownClassError: a class of the dataset is not one of the model's.
        UsageError: `mapping` has a class that one of them does not have.
    """
    if dataset.class_names == labels and not mapping:
        return dataset
    given = _check_mapping(mapping or {}, dataset, labels)
    found, are_labels = _match(dataset.class_names, labels)
    positions = [given.get(n, p) for n, p in zip(dataset.class_names, found, strict=True)]
    if are_labels and not given:
        few = ", ".join(dataset.class_names[:3])
        notify(f"{dataset.source}: the class names {few} … are read as labels of the model")
    if None in positions:
        name = dataset.class_names[positions.index(None)]
        raise UnknownClassError(dataset.source, name, labels)
    table = np.array(positions, np.int64)
    _report_left_out(dataset, table, notify)
    train, test, validation = (
        None if split is None else _relabel(split, table)
        for split in (dataset.train, dataset.test, dataset.validation)
    )
    assert train is not None  # noqa: S101 - for the type checker
    return replace(dataset, class_names=labels, train=train, test=test, validation=validation)


def allowed_classes(
    original: Dataset,
    aligned: Dataset,
    split: str,
    mapping: Mapping[str, Sequence[str]],
) -> NDArray[np.bool_] | None:
    """Return which classes are correct for each image of a split; None if each image has one.

    Args:
        original: the dataset before `align_classes`.
        aligned: the dataset after it.
        split: name of the split.
        mapping: as for `align_classes`; all classes of a name are correct for its images.

    Returns:
        (n, classes) bool.
    """
    several = {name: targets for name, targets in mapping.items() if len(targets) > 1}
    if not several:
        return None
    before, after = original.splits[split], aligned.splits[split]
    allowed = np.eye(len(aligned.class_names), dtype=bool)[after.labels]
    own_labels = before.labels[np.isin(before.indices, after.indices)]
    for name, targets in several.items():
        rows = np.flatnonzero(own_labels == original.class_names.index(name))
        columns = np.array([aligned.class_names.index(target) for target in targets])
        allowed[np.ix_(rows, columns)] = True
    return allowed


def _match(names: Sequence[str], labels: Sequence[str]) -> tuple[list[int | None], bool]:
    """Return the position of each name in `labels`, or None; and whether names are positions."""
    exact = {label: i for i, label in enumerate(labels)}
    plain: dict[str, int | None] = {}
    for i, label in enumerate(labels):
        plain[_plain(label)] = None if _plain(label) in plain else i  # ambiguous
    found = [exact[name] if name in exact else plain.get(_plain(name)) for name in names]
    numbers = [int(name) if _INTEGER.fullmatch(name) else -1 for name in names]
    if not any(p is not None for p in found) and all(0 <= n < len(labels) for n in numbers):
        return list(numbers), True
    return found, False


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def _check_mapping(
    mapping: Mapping[str, Sequence[str]], dataset: Dataset, labels: Sequence[str]
) -> dict[str, int]:
    """Return the position in `labels` by name of the dataset's class."""
    positions = {}
    for name, targets in mapping.items():
        if name not in dataset.class_names:
            hint = nearest(name, dataset.class_names)
            raise UsageError(f"map {name}: {dataset.source} has no such class{hint}")
        for target in targets:
            if target not in labels:
                raise UsageError(
                    f"map {name}={target}: the model has no such class{nearest(target, labels)}"
                )
        positions[name] = labels.index(targets[0]) if targets else LEFT_OUT
    return positions


def _report_left_out(dataset: Dataset, table: NDArray[np.int64], notify: Notify) -> None:
    left_out = [name for name, p in zip(dataset.class_names, table, strict=True) if p == LEFT_OUT]
    if left_out:
        n = sum(int((table[split.labels] == LEFT_OUT).sum()) for split in dataset.splits.values())
        notify(f"{dataset.source}: {n:,} images of {', '.join(left_out)} are left out")


def _relabel(split: Split, table: NDArray[np.int64]) -> Split:
    labels = table[split.labels]
    kept = np.flatnonzero(labels != LEFT_OUT)
    relabeled = replace(split, labels=np.maximum(labels, 0).astype(np.uint8))
    return relabeled if len(kept) == len(labels) else relabeled.subset(kept)
