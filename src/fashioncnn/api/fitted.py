"""What training or loading gives a classifier."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fashioncnn.api.labels import classes_of_model
from fashioncnn.artifacts.model_folder import find_model
from fashioncnn.data.dataset import Dataset
from fashioncnn.environment import require_modules
from fashioncnn.inference.predictor import Predictor
from fashioncnn.loading import (
    BackendChoice,
    LoadedModel,
    choose_backend,
    loaded_with_torch,
    open_with_onnx,
)
from fashioncnn.runs import RunFolder

if TYPE_CHECKING:
    from fashioncnn.training.run import TrainingResult


@dataclass(frozen=True)
class Fitted:
    """A trained model, and how its user gave the labels.

    Attributes:
        model: trained, and ready to predict.
        classes: (classes,) what is predicted, by code.
        history: one record per epoch.
        features: values per row, if the model was trained on rows of pixels.
        loaded: whether the model was loaded, so that its settings are not known.
        trained_on: SHA-256 of the training split, if it is known.
    """

    model: LoadedModel
    classes: NDArray[Any]
    history: list[dict[str, Any]]
    features: int | None = None
    loaded: bool = False
    trained_on: str | None = None

    @property
    def predictor(self) -> Predictor:
        """Predicts with the model."""
        return self.model.predictor

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the model on the CPU, since another machine may have no GPU."""
        trained = self.model.trained
        if trained is None or trained.device.type == "cpu":
            return self.__dict__
        import torch

        network = copy.deepcopy(trained.network).to(torch.device("cpu"))
        return {**self.__dict__, "model": loaded_with_torch(replace(trained, network=network))}


def fitted_by_training(
    result: TrainingResult,
    dataset: Dataset,
    classes: NDArray[Any] | None,
    features: int | None = None,
) -> Fitted:
    """Return a model with the data that it was trained on.

    Args:
        result: of the training.
        dataset: that it was trained on.
        classes: as the user gave them; None if they were not given in memory.
        features: values per row, if the images were rows of pixels.
    """
    model, sha256 = result.model, dataset.train.sha256
    if classes is None:
        classes = classes_of_model(model.spec)
        return Fitted(loaded_with_torch(model), classes, result.history, trained_on=sha256)
    spec = model.spec.replace(predicts_names=classes.dtype.kind == "U")
    named = loaded_with_torch(replace(model, spec=spec))
    return Fitted(named, classes, result.history, features, trained_on=sha256)


def fitted_model(
    model: LoadedModel, history: Sequence[dict[str, Any]] = (), trained_on: str | None = None
) -> Fitted:
    """Return a model that was loaded."""
    classes = classes_of_model(model.spec)
    return Fitted(model, classes, list(history), loaded=True, trained_on=trained_on)


def load_fitted(
    path: Path, device: str, network: Any = None, backend: BackendChoice = "auto"
) -> Fitted:
    """Return the model of a run folder, model folder, ONNX file, or a bundled model's name.

    Args:
        path: of the folder or file, or the name.
        device: name of a device, or ``auto``.
        network: the code of a custom network, or None.
        backend: what computes, see `fashioncnn.loading.open_model`.

    Raises:
        UsageError: there is no model at `path`, or `network` is missing or not needed.
        ModelError: its files are damaged.
        MissingExtraError: PyTorch is needed and not installed.
    """
    model = _load(path, device, network, backend)
    folder = find_model(path)
    run = RunFolder(folder.parent)
    if folder.name != run.model.name or not run.config.exists():
        return fitted_model(model)
    hashes = run.read_environment().get("data", {}).get("sha256", {})
    return fitted_model(model, run.read_history(), hashes.get("train"))


def _load(path: Path, device: str, network: Any, backend: BackendChoice) -> LoadedModel:
    if choose_backend(path, backend, device, has_network=network is not None) == "onnx":
        return open_with_onnx(find_model(path))
    require_modules("torch")
    from fashioncnn.api.networks import load_with_network

    return loaded_with_torch(load_with_network(path, device, network))
