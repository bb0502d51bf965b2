"""The argument ``network``: a custom network in the place of the recipe's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fashioncnn.config import kernels_from_environment
from fashioncnn.devices import resolve_device, resolve_kernels
from fashioncnn.errors import UsageError
from fashioncnn.models.custom import CustomNetwork, as_custom_network
from fashioncnn.models.trained_model import TrainedModel, load_model
from fashioncnn.settings import CustomConfig


def network_to_train(network: Any, parameters: Mapping[str, Any]) -> CustomNetwork | None:
    """Return the custom network of a classifier; None for that of its recipe.

    Args:
        network: see `fashioncnn.models.custom.as_custom_network`, or None.
        parameters: settings by name.

    Raises:
        UsageError: it is of another type, or there are settings of the recipe's network.
    """
    if network is None:
        return None
    custom = as_custom_network(network)
    for name, value in parameters.items():
        if name.replace(".", "__").startswith("model__") and value is not None:
            raise UsageError(
                f"Classifier: {name} = {value!r} has no effect on network {custom.name}; remove it"
            )
    return custom


def load_with_network(path: Path, device: str, network: Any) -> TrainedModel:
    """Return the model at `path`, and warn if its network is not the one that was trained.

    Args:
        path: run folder, model folder or name of a bundled model.
        device: name of a device, or ``auto``.
        network: see `network_to_train`.

    Raises:
        UsageError: there is no model, or `network` is missing, not needed, or of another type.
        ModelError: its files are damaged, or are not those of the network.
    """
    custom = None if network is None else as_custom_network(network)
    place = resolve_device(device)
    kernels = resolve_kernels(kernels_from_environment(), place)
    model = load_model(path, place, kernels, custom)
    recorded = model.spec.architecture
    if custom is not None and isinstance(recorded, CustomConfig) and custom.config != recorded:
        problem = f"was trained with the network {recorded.network}, not {custom.name}"
        if custom.name == recorded.network:
            problem = f"the code of {custom.name} has changed since the training"
        warnings.warn(f"{path}: {problem}", stacklevel=6)
    return model
