"""From the path of a model to a predictor, with ONNX Runtime or with PyTorch.

Command line, Python API and server open models here. PyTorch is imported only if it computes, so
that a model with an ONNX file needs only the base install.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast, get_args

from fashioncnn.artifacts.model_folder import (
    MAX_WEIGHTS_BYTES,
    ONNX,
    WEIGHTS,
    ModelDescription,
    find_model,
    find_onnx,
    read_weights,
    write_model_folder,
)
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.config import kernels_from_environment
from fashioncnn.environment import is_installed, require_modules
from fashioncnn.errors import UsageError
from fashioncnn.inference.backend import Backend
from fashioncnn.inference.onnx_backend import OnnxBackend, open_onnx_backend
from fashioncnn.inference.predictor import Predictor
from fashioncnn.settings import DEVICE_NAME, DEVICE_NAMES

if TYPE_CHECKING:
    from fashioncnn.models.custom import CustomNetwork
    from fashioncnn.models.trained_model import TrainedModel

BackendName = Literal["onnx", "torch"]
BackendChoice = Literal["auto", "onnx", "torch"]
"""``auto`` is ONNX Runtime where the model has an ONNX file, else PyTorch."""
CPU_NAMES = ("auto", "cpu")
"""Devices of ONNX Runtime."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to predict.

    Attributes:
        predictor: of the model.
        precision: ``fp32``, ``bf16`` or ``int8``, in which it computes.
        device: such as ``cpu``.
        trained: the network, with PyTorch; else None.
        stored_description: the content of its ``config.json``, with ONNX Runtime; else None.
        folder: of the model, with ONNX Runtime; None for an ONNX file alone.
    """

    predictor: Predictor
    precision: str
    device: str
    trained: TrainedModel | None = None
    stored_description: ModelDescription | None = None
    folder: Path | None = None

    @property
    def spec(self) -> ModelSpec:
        """The specification of the model."""
        return self.predictor.spec

    @property
    def backend(self) -> BackendName:
        """What computes."""
        return "onnx" if self.trained is None else "torch"

    def in_precision(self, precision: str) -> LoadedModel:
        """Return the model in ``fp32`` or ``bf16``; an ONNX file has only its own precision."""
        return self if self.trained is None else loaded_with_torch(self.trained, precision)

    @cached_property
    def description(self) -> ModelDescription:
        """The description of the model."""
        if self.trained is not None:
            return self.trained.describe()
        assert self.stored_description is not None  # noqa: S101 - see `open_with_onnx`
        return self.stored_description


def open_model(
    path: Path,
    backend: BackendChoice = "auto",
    device: str = "auto",
    network: CustomNetwork | None = None,
    *,
    threads: int | None = None,
) -> LoadedModel:
    """Return a model that is ready to predict.

    Args:
        path: a run folder, a model folder, an ONNX file, or the name of a bundled model.
        backend: what computes.
        device: name of a device; ``auto`` is a GPU if PyTorch computes and there is one.
        network: the code of a custom network, which PyTorch needs.
        threads: of ONNX Runtime; by default `fashioncnn.environment.default_threads`. PyTorch has
            its own setting, which belongs to the process.

    Raises:
        UsageError: there is no such model, device or ONNX file, or `network` is missing or not
            needed.
        ModelError: a file of the model is damaged, or its ONNX file is of other weights.
        MissingExtraError: PyTorch is needed and not installed.
    """
    model = find_model(path)
    if choose_backend(path, backend, device, has_network=network is not None) == "onnx":
        return open_with_onnx(model, threads)
    return open_with_torch(path, device, network)


def choose_backend(
    path: Path, backend: BackendChoice, device: str, *, has_network: bool = False
) -> BackendName:
    """Return what computes with a model, without loading it.

    Args:
        path: see `open_model`.
        backend: what the user asked for.
        device: name of a device; one other than the CPU needs PyTorch.
        has_network: whether the user gave the code of a custom network, which needs PyTorch.

    Raises:
        UsageError: there is no such model, or the arguments contradict each other.
    """
    if not DEVICE_NAME.fullmatch(device):
        raise UsageError(f"device = {device}: should be {DEVICE_NAMES}")
    onnx = find_onnx(find_model(path))
    needs_torch = device not in CPU_NAMES or has_network
    if backend == "auto":
        return "torch" if onnx is None or needs_torch else "onnx"
    if backend == "torch":
        return "torch"
    if onnx is None:
        raise UsageError(f"{path}: has no {ONNX}; write it with: fashioncnn export {path}")
    if device not in CPU_NAMES:
        raise UsageError(f"device = {device}: ONNX Runtime uses the CPU; use --backend torch")
    if has_network:
        raise UsageError("--network: the code of a network has no effect on --backend onnx")
    return "onnx"


def check_backend(name: str) -> BackendChoice:
    """Return `name` if it is one of `BackendChoice`.

    Raises:
        UsageError: it is not.
    """
    if name not in get_args(BackendChoice):
        raise UsageError(f"backend = {name!r}: should be {' or '.join(get_args(BackendChoice))}")
    return cast("BackendChoice", name)


def open_with_onnx(model: Path, threads: int | None = None) -> LoadedModel:
    """Return the model of a folder or ONNX file, see `open_model`.

    Args:
        model: as `find_model` returns it.
        threads: of ONNX Runtime.
    """
    has_torch = (model / WEIGHTS).exists() and is_installed("torch")
    backend, description = open_onnx_backend(
        model, threads, partial(_open_gradients, model) if has_torch else None
    )
    predictor = Predictor(backend, description.spec)
    folder = model if model.is_dir() else None
    return LoadedModel(predictor, backend.precision, "cpu", None, description, folder)


def _open_gradients(model: Path) -> Backend:
    """Return a backend for class activation maps that have no closed form."""
    return open_with_torch(model, "cpu").predictor.backend


def open_with_torch(
    path: Path, device: str = "auto", network: CustomNetwork | None = None
) -> LoadedModel:
    """Return a model that PyTorch computes with, see `open_model`."""
    require_modules("torch")
    from fashioncnn.devices import resolve_device, resolve_kernels
    from fashioncnn.models.trained_model import load_model

    place = resolve_device(device)
    kernels = resolve_kernels(kernels_from_environment(), place)
    return loaded_with_torch(load_model(path, place, kernels, network))


def loaded_with_torch(trained: TrainedModel, precision: str = "fp32") -> LoadedModel:
    """Return a network in memory as a loaded model.

    Args:
        trained: the network and its specification.
        precision: ``fp32`` or ``bf16``.
    """
    from fashioncnn.models.backend import torch_predictor

    return LoadedModel(torch_predictor(trained, precision), precision, str(trained.device), trained)


def save_loaded(model: LoadedModel, folder: Path, card: str) -> None:
    """Write a model folder; existing files are replaced, each atomically.

    It has the files that the model was loaded from, or weights in fp32.

    Args:
        model: to save.
        folder: created if missing.
        card: Markdown text of the model card.

    Raises:
        ModelError: the files of the model were changed since it was loaded.
    """
    if model.trained is not None:
        from fashioncnn.models.trained_model import save_model

        save_model(model.trained, folder, card)
        return
    backend, weights = model.predictor.backend, None
    assert isinstance(backend, OnnxBackend)  # noqa: S101 - see `open_with_onnx`
    if model.folder is not None and (model.folder / WEIGHTS).exists():
        sha256 = model.description.weights_sha256
        weights = read_weights(model.folder, sha256, MAX_WEIGHTS_BYTES)
    write_model_folder(folder, weights, model.description, card, backend.content)
