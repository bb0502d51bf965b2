"""Settings as keyword arguments: ``epochs``, or with their section ``optimizer__learning_rate``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fashioncnn.config import FLAGS, known_keys, resolve
from fashioncnn.errors import UsageError, nearest
from fashioncnn.settings import Settings

OTHER_NAMES = {
    "verbose": "progress",
    "random_state": "seed",
    "lr": "learning_rate",
    "max_iter": "epochs",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
}
"""What other libraries call a parameter."""
NOT_PARAMETERS = frozenset({"data", "data.source"})
"""Settings that are arguments of methods."""


def check_names(names: Iterable[str], others: Iterable[str]) -> None:
    """Raise `UsageError` for the first name that is no setting, with the nearest one.

    Args:
        names: of keyword arguments.
        others: parameters that are no settings, for the suggestion.
    """
    known = [name for name in FLAGS if name not in NOT_PARAMETERS]
    known += [
        key.replace(".", "__") for key in known_keys() if "." in key and key not in NOT_PARAMETERS
    ]
    for name in names:
        if name in known:
            continue
        hint = nearest(name, [*known, *others])
        if name in OTHER_NAMES:
            hint = f"; did you mean '{OTHER_NAMES[name]}'?"
        if name.replace("__", ".") in NOT_PARAMETERS:
            hint = "; data is an argument of fit and train"
        raise UsageError(f"Classifier: no setting '{name}'{hint}")


def resolve_parameters(
    recipe: str | Path,
    parameters: Mapping[str, Any],
    data: str | None = None,
    *,
    own_network: bool = False,
) -> Settings:
    """Return the settings of a recipe with the given parameters.

    Args:
        recipe: name of a recipe, or a ``.toml`` file.
        parameters: by name, see `check_names`; None is the recipe's value.
        data: source of the training data.
        own_network: whether a network of the user replaces the recipe's.

    Raises:
        UsageError: the recipe does not exist, or a setting is given by two names.
        ConfigError: a value is invalid, or has no effect.
    """
    if not isinstance(recipe, str | Path):
        raise UsageError(
            f"Classifier: recipe of type {type(recipe).__name__}; should be a name or a .toml file"
        )
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    for name, value in parameters.items():
        key = FLAGS.get(name, name.replace("__", "."))
        if value is None:
            continue
        if key in values:
            raise UsageError(f"Classifier: {names[key]} and {name} are the same setting; give one")
        names[key], values[key] = name, _plain(value)
    if data is not None:
        values["data.source"] = data
    return resolve(str(recipe), flags=values, own_network=own_network)


def given_keys(parameters: Mapping[str, Any]) -> set[str]:
    """Return the dotted keys of the parameters that are given."""
    return {
        FLAGS.get(name, name.replace("__", "."))
        for name, value in parameters.items()
        if value is not None
    }


def _plain(value: Any) -> Any:
    """Return a value of NumPy, as in a parameter grid, as one of Python; paths as text."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray | tuple | list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value
