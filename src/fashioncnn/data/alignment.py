"""The classes of a dataset as those of a model, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.labels import natural_key
from fashioncnn.data.options import Notify, ignore
from fashioncnn.errors import DataError, UsageError, nearest

ClassMapping = Mapping[str, Sequence[str]]
"""Classes of the model by class of the data."""
_INTEGER = re.compile(r"\d{1,9}")


class UnknownClassError(DataError):
    """A class of a dataset is not one of the model's.

    Args:
        source: of the dataset.
        name: of the class.
        labels: class names of the model.
        remedy: what to do.
    """

    def __init__(
        self, source: str, name: str, labels: Sequence[str], remedy: str = "map it to one of them"
    ) -> None:
        few = ", ".join(labels[:3]) + (" …" if len(labels) > 3 else "")
        super().__init__(
            f"{source}: class '{name}' is not one of the model's ({few}){nearest(name, labels)}; "
            f"{remedy}"
        )
        self.source, self.name = source, name


def align_classes(
    dataset: Dataset,
    labels: tuple[str, ...],
    mapping: ClassMapping | None = None,
    notify: Notify = ignore,
) -> Dataset:
    """Return the dataset with the class names of a model, and labels that are positions in them.

    Classes are found by name, else without regard to case and punctuation (``ankle_boot`` is
    ``Ankle boot``). Names that are all integers are the labels 0, 1 … of a model whose names are
    not. The dataset may lack classes of the model.

    Args:
        dataset: to evaluate or to train on.
        labels: class names of the model.
        mapping: names of the model's classes by a name of the dataset's. Of several, each is
            correct, and the first in the order of the model's is the label; without any, images of
            this class are outside of the classes. In both cases splits have `Split.allowed`.
        notify: called with a message about integers, and about images outside of the classes.

    Raises:
        UnknownClassError: a class of the dataset is not one of the model's.
        UsageError: `mapping` has a class that one of them does not have.
    """
    if dataset.class_names == labels and not mapping:
        return dataset
    given = _check_mapping(mapping or {}, dataset, labels)
    found, are_labels = _match(dataset.class_names, labels)
    by_name = [None if position is None else [position] for position in found]
    targets = [given.get(n, p) for n, p in zip(dataset.class_names, by_name, strict=True)]
    if are_labels and not given:
        few = ", ".join(dataset.class_names[:3])
        notify(f"{dataset.source}: the class names {few} … are read as labels of the model")
    table = _class_table(dataset, targets, labels)
    train, test, validation = (
        None if split is None else _relabel(split, table)
        for split in (dataset.train, dataset.test, dataset.validation)
    )
    assert train is not None  # noqa: S101 - for the type checker
    _report_outside(dataset, table, notify)
    return replace(dataset, class_names=labels, train=train, test=test, validation=validation)


def _class_table(
    dataset: Dataset, targets: Sequence[list[int] | None], labels: Sequence[str]
) -> NDArray[np.bool_]:
    """Return which of the model's classes are correct for a class of the dataset.

    Returns:
        (classes of the dataset, classes of the model) bool.
    """
    table = np.zeros((len(targets), len(labels)), bool)
    for row, (name, positions) in enumerate(zip(dataset.class_names, targets, strict=True)):
        if positions is None:
            raise UnknownClassError(dataset.source, name, labels)
        table[row, positions] = True
    return table


def mapped_names(names: Sequence[str], mapping: ClassMapping) -> tuple[str, ...]:
    """Return the classes of a dataset once some are mapped, in natural order."""
    targets = {target for name in names for target in mapping.get(name, [name])}
    return tuple(sorted(targets, key=natural_key))


def similar_names(names: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """Return the class of `labels` by each of `names` that differs from it in case or punctuation.

    >>> similar_names(["coat", "Bag", "hat"], ["Coat", "Bag"])
    {'coat': 'Coat'}
    """
    plain = {_plain(label): label for label in labels}
    return {n: plain[_plain(n)] for n in names if n not in labels and _plain(n) in plain}


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
    mapping: ClassMapping, dataset: Dataset, labels: Sequence[str]
) -> dict[str, list[int]]:
    """Return the positions in `labels` by name of the dataset's class."""
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
        positions[name] = [labels.index(target) for target in targets]
    return positions


def _report_outside(dataset: Dataset, table: NDArray[np.bool_], notify: Notify) -> None:
    codes = [code for code, row in enumerate(table) if not row.any()]
    if codes:
        names = ", ".join(dataset.class_names[code] for code in codes)
        n = sum(int(np.isin(split.labels, codes).sum()) for split in dataset.splits.values())
        notify(f"{dataset.source}: {n:,} images of {names} are outside of the classes")


def _relabel(split: Split, table: NDArray[np.bool_]) -> Split:
    """Return a split whose labels, and classes that are allowed, are those of its classes."""
    allowed = None if (table.sum(axis=1) == 1).all() else table[split.labels]
    first = table.argmax(axis=1).astype(np.uint8)
    return replace(split, labels=first[split.labels], allowed=allowed)
