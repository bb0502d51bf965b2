"""Load the model of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fashioncnn.models.trained_model import TrainedModel


def load_for(path: Path, device: str) -> TrainedModel:
    """Return a model on a device, with the kernels that are available for it.

    Args:
        path: run folder, model folder or name of a bundled model.
        device: name of a device, or ``auto``.

    Raises:
        UsageError: there is no such model or device.
        ModelError: the files of the model are damaged.
    """
    from fashioncnn.artifacts.model_folder import find_model
    from fashioncnn.config import kernels_from_environment
    from fashioncnn.devices import resolve_device, resolve_kernels
    from fashioncnn.environment import configure_allocator
    from fashioncnn.models.trained_model import load_model

    place = resolve_device(device)
    find_model(path)  # before kernels are compiled
    if place.type == "cpu":
        configure_allocator()
    return load_model(path, place, resolve_kernels(kernels_from_environment(), place))
