"""The option ``--map``: classes of a model for the classes of the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fashioncnn.errors import UsageError

ClassMapOption = Annotated[
    list[str] | None, Parameter(name="--map", negative=(), metavar="NAME=CLASS")
]


def parse_mapping(assignments: Sequence[str], labels: Sequence[str]) -> dict[str, list[str]]:
    """Return the classes of the model by class of the data.

    Args:
        assignments: of ``--map``, such as ``shoes=Sandal,Sneaker``, or a TOML file with a table
            ``[data.map]``, such as the ``config.toml`` of a run. An assignment replaces what a
            file says about a name, and the last file what others say.
        labels: class names of the model, which may contain commas.

    Raises:
        UsageError: an assignment is not one, or a file has no such table.
    """
    return {**mapping_of_files(assignments), **mapping_of_names(assignments, labels)}


def mapping_of_names(assignments: Sequence[str], labels: Sequence[str]) -> dict[str, list[str]]:
    """Return what the assignments contain that are no files; see `parse_mapping`."""
    mapping: dict[str, list[str]] = {}
    for text in assignments:
        if _is_file(text):
            continue
        name, equals, target = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--map {text}: should be NAME=CLASS, as in --map pants=Trouser")
        if name in mapping:
            raise UsageError(f"--map {text}: {name} is given twice")
        mapping[name] = [target] if target in labels else _split(target)
    return mapping


def mapping_of_files(assignments: Sequence[str]) -> dict[str, list[str]]:
    """Return what the TOML files among the assignments contain; of several, the last counts."""
    mapping: dict[str, list[str]] = {}
    for text in filter(_is_file, assignments):
        mapping |= _read_mapping(Path(text))
    return mapping


def _is_file(text: str) -> bool:
    return text.endswith(".toml") and "=" not in text


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _read_mapping(path: Path) -> dict[str, list[str]]:
    from fashioncnn.config import read_toml

    data = read_toml(path).get("data")
    table = data.get("map") if isinstance(data, dict) else None
    if not isinstance(table, dict) or not table:
        raise UsageError(f"--map {path}: has no table [data.map]")
    mapping: dict[str, list[str]] = {}
    for name, given in table.items():
        classes = [given] if isinstance(given, str) else given
        if not isinstance(classes, list) or not all(isinstance(c, str) for c in classes):
            raise UsageError(f"--map {path}: data.map.{name}: should be a list of class names")
        mapping[name] = classes
    return mapping
