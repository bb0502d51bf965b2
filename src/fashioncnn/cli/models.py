"""Load the model of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fashioncnn.loading import BackendChoice, LoadedModel
    from fashioncnn.models.custom import CustomNetwork
    from fashioncnn.models.trained_model import TrainedModel


def load_for(
    path: Path,
    backend: BackendChoice,
    device: str,
    network: str | None = None,
    *,
    threads: int | None = None,
) -> LoadedModel:
    """Return a model that is ready to predict.

    Args:
        path: run folder, model folder, ONNX file or name of a bundled model.
        backend: what computes, see `fashioncnn.loading.open_model`.
        device: name of a device, or ``auto``.
        network: the code of a custom network, see `fashioncnn.cli.networks`.
        threads: of ONNX Runtime, or of PyTorch in this process; by default
            `fashioncnn.environment.default_threads`.

    Raises:
        UsageError: there is no such model or device, or the network is missing or not needed.
        ModelError: the files of the model are damaged.
        MissingExtraError: PyTorch is needed and not installed.
    """
    from fashioncnn.loading import choose_backend, open_model

    chosen = choose_backend(path, backend, device, has_network=network is not None)
    custom = _prepare_torch(path, network, threads) if chosen == "torch" else None
    return open_model(path, chosen, device, custom, threads=threads)


def load_with_torch(path: Path, device: str, network: str | None = None) -> TrainedModel:
    """Return a network and its specification; see `load_for`."""
    trained = load_for(path, "torch", device, network).trained
    assert trained is not None  # noqa: S101 - it is the backend that was asked for
    return trained


def _prepare_torch(path: Path, network: str | None, threads: int | None) -> CustomNetwork | None:
    """Set up the process for PyTorch, and return the custom network that was given."""
    from fashioncnn.artifacts.model_folder import find_model, read_description
    from fashioncnn.cli.networks import check_given, import_given
    from fashioncnn.environment import require_modules

    require_modules("torch")
    from fashioncnn.devices import configure_process

    custom = import_given(network)
    check_given(path, read_description(find_model(path)).architecture, custom)
    configure_process(threads or "auto")
    return custom


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
