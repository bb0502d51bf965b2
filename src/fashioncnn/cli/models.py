"""Load the model of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fashioncnn.models.custom import CustomNetwork
    from fashioncnn.models.trained_model import TrainedModel


def load_for(path: Path, device: str, network: str | None = None) -> TrainedModel:
    """Return a model on a device, with the kernels that are available for it.

    Args:
        path: run folder, model folder or name of a bundled model.
        device: name of a device, or ``auto``.
        network: the code of a custom network, see `fashioncnn.cli.networks`.

    Raises:
        UsageError: there is no such model or device, or the network is missing or not needed.
        ModelError: the files of the model are damaged.
    """
    from fashioncnn.artifacts.model_folder import find_model, read_description
    from fashioncnn.cli.networks import check_given, import_given
    from fashioncnn.config import kernels_from_environment
    from fashioncnn.devices import resolve_device, resolve_kernels
    from fashioncnn.environment import configure_allocator
    from fashioncnn.models.trained_model import load_model

    place = resolve_device(device)
    custom = import_given(network)
    check_given(path, read_description(find_model(path)).architecture, custom)
    if place.type == "cpu":
        configure_allocator()
    return load_model(path, place, resolve_kernels(kernels_from_environment(), place), custom)


def load_initial(path: Path, custom: CustomNetwork | None) -> TrainedModel:
    """Return a model to start a training with, on the CPU.

    Args:
        path: see `load_for`.
        custom: the code of a custom network.

    Raises:
        UsageError: there is no such model, or its network is missing or not needed.
        ModelError: the files of the model are damaged.
    """
    from fashioncnn.artifacts.model_folder import find_model, read_description
    from fashioncnn.cli.networks import check_given
    from fashioncnn.models.trained_model import load_model

    check_given(path, read_description(find_model(path)).architecture, custom)
    return load_model(path, network=custom)
