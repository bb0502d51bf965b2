"""Reading and validating search spaces.

A space file is a TOML file with the sections and keys of a recipe; each value is a range,
``{ low = 1e-4, high = 1e-2, log = true }``, or a list of choices, ``{ choices = [3, 5] }``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from fashioncnn.config import read_toml, setting_key
from fashioncnn.errors import ConfigError, UsageError, nearest
from fashioncnn.reading import parse_toml
from fashioncnn.settings import Settings
from fashioncnn.tuning.ranges import Choices, Range, is_multiple
from fashioncnn.tuning.space import Space

NOT_SEARCHABLE = {
    "runtime": "it depends on the machine, not on the recipe",
    "distillation": "trials train without teachers",
    "data.source": "losses on different images are not comparable",
    "data.validation": "losses on different images are not comparable",
    "data.fold": "losses on different images are not comparable",
    "data.fraction": "losses on different images are not comparable",
    "data.label_noise": "losses on different images are not comparable",
    "data.image_size": "losses on different images are not comparable",
    "training.epochs": "trials are compared after the same number of epochs; use --epochs",
    "training.patience": "trials are compared after the same number of epochs",
    "training.seed": "the best seed is not the best recipe",
    "training.temperature": "it does not change the validation loss",
    "training.abstain_below": "it does not change the validation loss",
    "training.track_test": "the test split does not influence training",
    "training.checkpoint_seconds": "it does not change the result of training",
}
"""Sections and settings that cannot be searched, each with the reason."""
RENAMED_SPACES = {"regularisation": "regularization"}
"""Spaces of version 0.2 and their names since."""
RANGE_KEYS = ("low", "high", "log", "step")
SYNTAX = "write { low = …, high = … } or { choices = […] }"


def space_names() -> list[str]:
    """Return the names of the spaces that come with the package."""
    return sorted(f.name[:-5] for f in _folder().iterdir() if f.name.endswith(".toml"))


def default_space(settings: Settings) -> str:
    """Return the name of the space for the recipe's model and optimizer.

    Raises:
        UsageError: there is no such space in the package.
    """
    model, optimizer = settings.model.name, settings.optimizer.name
    name = f"{model}-{optimizer}"
    if name not in space_names():
        raise UsageError(
            f"no default search space for {model} with {optimizer}: give a name "
            f"({', '.join(space_names())}) or a .toml file with --space"
        )
    return name


def read_space(name: str) -> Space:
    """Read a space of the package by its name, or a file ending in ``.toml``.

    Raises:
        UsageError: the space does not exist.
        ConfigError: settings, ranges or choices are invalid; all of them are reported together.
    """
    if name.endswith(".toml"):
        values = read_toml(Path(name))
    elif name in space_names():
        values = parse_toml((_folder() / f"{name}.toml").read_text("utf-8"))
    elif name in RENAMED_SPACES:
        raise UsageError(f"space {name}: renamed to {RENAMED_SPACES[name]}")
    else:
        suggestion = nearest(name, space_names())
        available = ", ".join(space_names())
        raise UsageError(f"space {name}: does not exist{suggestion} (available: {available})")
    values.pop("description", None)
    return parse_space(values, name)


def parse_space(values: Mapping[str, Any], name: str) -> Space:
    """Return the space in the nested tables of a space file.

    Args:
        values: the tables.
        name: name of the space, for messages.

    Raises:
        ConfigError: settings, ranges or choices are invalid; all of them are reported together.
    """
    space: Space = {}
    errors: list[str] = []
    for written_key, table in _entries(values):
        key = setting_key(written_key)
        try:
            _check_searchable(key)
            if key in space:
                raise ValueError("given twice")
            space[key] = _parse(table)
        except ValueError as error:
            errors.append(f"{key}: {error}")
    if not space and not errors:
        errors.append(f"nothing to search; {SYNTAX}")
    if errors:
        raise ConfigError(f"{name}: {'; '.join(errors)}")
    return space


def _folder() -> Traversable:
    return resources.files("fashioncnn") / "recipes" / "spaces"


def _entries(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) from tables with or without sections."""
    for key, value in values.items():
        if isinstance(value, dict) and not value.keys() & {"choices", *RANGE_KEYS}:
            yield from ((f"{key}.{field}", table) for field, table in value.items())
        else:
            yield key, value


def _check_searchable(key: str) -> None:
    section = key.split(".", maxsplit=1)[0]
    reason = NOT_SEARCHABLE.get(key, NOT_SEARCHABLE.get(section))
    if reason:
        raise ValueError(f"cannot be searched: {reason}")


def _parse(table: Any) -> Range | Choices:
    """Return a range or choices; raises `ValueError` with the reason if the table is invalid."""
    if not isinstance(table, dict):
        raise ValueError(f"is {table!r}; {SYNTAX}")
    known = ("choices",) if "choices" in table else RANGE_KEYS
    for key in table:
        if key not in known:
            raise ValueError(f"{key}: should be one of {', '.join(known)}{nearest(key, known)}")
    return _parse_choices(table["choices"]) if "choices" in table else _parse_range(table)


def _parse_choices(values: Any) -> Choices:
    if not isinstance(values, list) or len(values) < 2:
        raise ValueError(f"choices = {values!r}: should be a list of two or more values")
    if any(values.count(value) > 1 for value in values):
        raise ValueError(f"choices = {values!r}: contains a value twice")
    return Choices(tuple(values))


def _parse_range(table: Mapping[str, Any]) -> Range:
    for key in ("low", "high"):
        if key not in table:
            raise ValueError(f"{key} is missing; {SYNTAX}")
    log = table.get("log", False)
    if not isinstance(log, bool):
        raise ValueError(f"log = {log!r}: should be true or false")
    for key in ("low", "high", "step"):
        value = table.get(key)
        if key in table and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{key} = {value!r}: should be a number")
    parsed = Range(table["low"], table["high"], log, table.get("step"))
    _check_range(parsed)
    return parsed


def _check_range(r: Range) -> None:
    ends = f"low = {r.low}, high = {r.high}"
    if not r.low < r.high:  # also if one of them is NaN
        raise ValueError(f"{ends}: low should be less than high")
    if math.inf in (abs(r.low), abs(r.high)):
        raise ValueError(f"{ends}: should be finite")
    if r.log and r.low <= 0:
        raise ValueError(f"{ends}: low should be greater than 0 for log = true")
    if r.step is None:
        return
    if r.log:
        raise ValueError(f"log = true, step = {r.step}: give only one of them")
    if r.step <= 0 or not is_multiple(r.high, r.low, r.step):
        raise ValueError(
            f"{ends}, step = {r.step}: high should be a whole number of steps above low"
        )
