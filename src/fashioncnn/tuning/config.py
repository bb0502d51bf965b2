"""The configuration of a search: everything that determines its trials."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from fashioncnn.config import override
from fashioncnn.settings import SCHEMA, FashionCNNConfig, Settings
from fashioncnn.tuning.space import Space

SamplerName = Literal["tpe", "random"]
PrunerName = Literal["median", "hyperband", "none"]
OBJECTIVE = "calibrated validation loss"
"""See `fashioncnn.evaluation.calibration.calibrated_loss`."""
EARLIER: dict[str, Any] = {"objective": "validation loss", "pruner": "median"}
"""What searches of earlier versions used, which do not name it."""
KERNEL_SIZE, PADDING = "model.kernel_size", "model.padding"
CHANGEABLE: dict[str, Any] = {
    "recipe": True, "description": True, "data": {"source"}, "runtime": True,
}  # fmt: skip
"""Settings that may differ when a search is resumed: names, paths and hardware."""


@dataclass(frozen=True)
class SearchConfig:
    """The configuration of a search.

    Attributes:
        recipe: settings of the recipe, into which the best values are written; ``auto`` is kept.
        settings: settings of a trial, resolved, with a validation split.
        space: the searched settings.
        sampler: ``tpe`` (tree-structured Parzen estimator, arXiv:2304.11127) or ``random``.
        seed: seed of the sampler.
        data: name and SHA-256 of the training split.
        pruner: ``median``, ``hyperband`` (arXiv:1603.06560) or ``none``.
        keep_size: whether the padding follows a searched kernel size, so that the convolutions
            keep the output size that they have in the recipe.
    """

    recipe: Settings
    settings: Settings
    space: Space
    sampler: SamplerName
    seed: int
    data: dict[str, str]
    pruner: PrunerName = "median"
    keep_size: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return everything that determines the trials, as ``search.toml`` stores it."""
        return {
            "schema": SCHEMA,
            "objective": OBJECTIVE,
            "sampler": self.sampler,
            "pruner": self.pruner,
            "seed": self.seed,
            **({"keep_size": True} if self.keep_size else {}),
            "data": self.data,
            "settings": fixed_settings(self.settings),
            "space": {key: parameter.to_dict() for key, parameter in self.space.items()},
        }

    def decode(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the settings for the parameters of an Optuna trial, by dotted key."""
        values = {key: self.space[key].decode(value) for key, value in parameters.items()}
        if self.keep_size and KERNEL_SIZE in values:
            values[PADDING] = padding_for(values[KERNEL_SIZE], self.recipe)
        return values

    def trial_settings(self, parameters: dict[str, Any]) -> Settings:
        """Return the settings for the parameters of an Optuna trial."""
        return override(self.settings, self.decode(parameters))


def padding_for(kernel_size: int, recipe: Settings) -> int:
    """Return the padding that keeps the output size of the recipe's convolutions.

    It differs by half a pixel per side, rounded down, if only one of the kernel sizes is even.

    Args:
        kernel_size: of the trial.
        recipe: with a ``fashion_cnn``.
    """
    model = recipe.model
    assert isinstance(model, FashionCNNConfig)  # noqa: S101 - for the type checker
    return max(0, model.padding + (kernel_size - model.kernel_size) // 2)


def fixed_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that must stay the same when a search is resumed."""
    values = settings.model_dump(mode="json", exclude=CHANGEABLE, exclude_none=True)
    return {**values, "runtime": {"precision": settings.runtime.precision}}


def describe_differences(
    stored: dict[str, Any], requested: dict[str, Any], limit: int = 3
) -> list[str]:
    """Return a phrase for each key in which two nested tables differ, `limit` of them in full."""
    stored, requested = flatten(stored), flatten(requested)
    differences = [
        f"{key} is {_format(stored.get(key))} there and {_format(requested.get(key))} now"
        for key in sorted(stored.keys() | requested.keys())
        if stored.get(key) != requested.get(key)
    ]
    more = [f"and {len(differences) - limit} more"] * (len(differences) > limit)
    return differences[:limit] + more


def _format(value: Any) -> str:
    return "not set" if value is None else json.dumps(value)


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested tables by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {
            prefix + key: value
        }  # fmt: skip
    return flat
