"""The classes of a dataset as those of a model, by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.labels import natural_key
from fashioncnn.data.options import Notify, ignore
from fashioncnn.errors import DataError, UsageError, nearest

ClassMapping = Mapping[str, Sequence[str]]
"""Classes of the model by class of the data."""
MAP_IT = "map {it} to one of them"
MAX_LISTED = 10
"""Classes that a message names."""
_INTEGER = re.compile(r"\d{1,9}")


class UnknownClassError(DataError):
    """Classes of a dataset are not the model's.

    Args:
        source: of the dataset.
        names: of these classes, at least one.
        labels: class names of the model.
        remedy: what to do, with ``{it}`` for the classes.
    """

    def __init__(
        self, source: str, names: Sequence[str], labels: Sequence[str], remedy: str = MAP_IT
    ) -> None:
        few = ", ".join(labels[:3]) + (" …" if len(labels) > 3 else "")
        remedy = remedy.format(it="it" if len(names) == 1 else "each")
        if len(names) == 1:
            what = (
                f"class '{names[0]}' is not one of the model's ({few}){nearest(names[0], labels)}"
            )
        else:
            listed = ", ".join(f"'{name}'" for name in names[:MAX_LISTED])
            more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
            what = f"classes {listed}{more} are not among the model's ({few})"
        super().__init__(f"{source}: {what}; {remedy}")
        self.source, self.names = source, tuple(names)

    def with_options(self) -> DataError:
        """Return the error with the options of the command line that map the classes."""
        options = " ".join(f"--map '{name}=CLASS'" for name in self.names[:MAX_LISTED])
        return DataError(f"{self} with {options}")


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
    targets, are_labels = _find_targets(dataset.class_names, labels, mapping or {}, dataset.source)
    if are_labels and not mapping:
        few = ", ".join(dataset.class_names[:3])
        notify(f"{dataset.source}: the class names {few} … are read as labels of the model")
    table = np.zeros((len(targets), len(labels)), bool)
    for row, positions in enumerate(targets):
        table[row, positions] = True
    train, test, validation = (
        None if split is None else _relabel(split, table)
        for split in (dataset.train, dataset.test, dataset.validation)
    )
    assert train is not None  # noqa: S101 - for the type checker
    _report_outside(dataset, table, notify)
    return replace(dataset, class_names=labels, train=train, test=test, validation=validation)


def check_names(
    names: Sequence[str], labels: Sequence[str], mapping: ClassMapping, source: str
) -> None:
    """Raise the errors of `align_classes` for a dataset that is not read yet.

    Args:
        names: of the dataset's classes.
        labels: see `align_classes`.
        mapping: see `align_classes`.
        source: of the dataset.
    """
    if tuple(names) != tuple(labels) or mapping:
        _find_targets(names, labels, mapping, source)


def without_missing(
    mapping: ClassMapping, names: Sequence[str], required: Collection[str] = ()
) -> tuple[dict[str, Sequence[str]], list[str]]:
    """Return the mapping of the names that a dataset has, and the other names.

    Args:
        mapping: such as that of a recipe, which is for more classes than a user's data has.
        names: of the dataset's classes.
        required: names that stay in the mapping, so that `align_classes` rejects missing ones.
    """
    kept = {n: mapping[n] for n in mapping if n in names or n in required}
    return kept, [name for name in mapping if name not in kept]


def _find_targets(
    names: Sequence[str], labels: Sequence[str], mapping: ClassMapping, source: str
) -> tuple[list[list[int]], bool]:
    """Return the positions in `labels` of each class, and whether the names are positions."""
    given = _check_mapping(mapping, names, labels, source)
    found, are_labels = _match(names, labels)
    by_name = [None if position is None else [position] for position in found]
    targets = [given.get(name, p) for name, p in zip(names, by_name, strict=True)]
    if unknown := [name for name, p in zip(names, targets, strict=True) if p is None]:
        raise UnknownClassError(source, unknown, labels)
    return [positions for positions in targets if positions is not None], are_labels


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
    mapping: ClassMapping, names: Sequence[str], labels: Sequence[str], source: str
) -> dict[str, list[int]]:
    """Return the positions in `labels` by name of the dataset's class."""
    positions = {}
    for name, targets in mapping.items():
        if name not in names:
            raise UsageError(f"map {name}: {source} has no such class{nearest(name, names)}")
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
