"""Search spaces: checks against a recipe, and the recipe's own values in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from fashioncnn.config import override
from fashioncnn.errors import ConfigError, FashionCNNError
from fashioncnn.settings import Settings
from fashioncnn.tuning.ranges import Choices, Range

Space = dict[str, Range | Choices]
"""The searched values by dotted setting key."""
ERRORS_SHOWN = 5


def check_space(
    space: Space, settings: Settings, name: str, check: Callable[[Settings], object] = lambda s: s
) -> None:
    """Check that the extreme values of a space are valid settings.

    Args:
        space: the space.
        settings: settings of the recipe.
        name: name of the space, for the message.
        check: further check of the settings; raises `FashionCNNError` if they are invalid.

    Raises:
        ConfigError: a setting does not exist or some of its values are invalid; all of them are
            reported together.
    """
    errors = [_integer_range_error(key, parameter, settings) for key, parameter in space.items()]
    for values in _extreme_values(space):
        try:
            check(override(settings, values))
        except FashionCNNError as error:
            errors += re.split("; (?!did you mean)", str(error))
    unique = list(dict.fromkeys(filter(None, errors)))
    if unique:
        more = [f"and {len(unique) - ERRORS_SHOWN} more"] * (len(unique) > ERRORS_SHOWN)
        raise ConfigError(f"{name}: {'; '.join(unique[:ERRORS_SHOWN] + more)}")


def encode_settings(settings: Settings, space: Space) -> dict[str, Any] | None:
    """Return the searched settings of a recipe as Optuna stores them.

    Returns:
        The encoded values by dotted key; None if the space does not contain all of them.
    """
    encoded = {}
    for key, parameter in space.items():
        value = _setting(settings, key)
        if not parameter.contains(value):
            return None
        encoded[key] = parameter.encode(value)
    return encoded


def encode_parameters(values: dict[str, Any], space: Space) -> dict[str, Any]:
    """Return the values of a trial, by dotted key, as Optuna stores them."""
    return {key: parameter.encode(values[key]) for key, parameter in space.items()}


def short_names(space: Space) -> dict[str, str]:
    """Return display names by dotted key: without the section, unless that is ambiguous."""
    names = [key if key.endswith(".name") else key.rpartition(".")[2] for key in space]
    return {k: n if names.count(n) == 1 else k for k, n in zip(space, names, strict=True)}


def _setting(settings: Settings, key: str) -> Any:
    """Return a setting by its dotted key; None if it does not exist."""
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name, None)
    return value


def _integer_range_error(key: str, parameter: Range | Choices, settings: Settings) -> str | None:
    """Return an error message for an integer range of a setting that takes floats."""
    if not isinstance(parameter, Range) or not parameter.is_integer:
        return None
    if not isinstance(_setting(settings, key), float):
        return None
    low, high = float(parameter.low), float(parameter.high)
    return (
        f"{key}: low = {parameter.low}, high = {parameter.high} would search only integers, but "
        f"the setting is a float; write low = {low}, high = {high}"
    )


def _extreme_values(space: Space) -> Iterator[dict[str, Any]]:
    """Yield all parameters at their first extreme, each other extreme alone, all at their last."""
    first = {key: parameter.extremes[0] for key, parameter in space.items()}
    yield first
    for key, parameter in space.items():
        yield from ({**first, key: value} for value in parameter.extremes[1:])
    yield {key: parameter.extremes[-1] for key, parameter in space.items()}
