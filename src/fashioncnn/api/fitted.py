"""What training or loading gives a classifier."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from fashioncnn.api.labels import classes_of_model
from fashioncnn.api.networks import load_with_network
from fashioncnn.artifacts.model_folder import find_model
from fashioncnn.data.dataset import Dataset
from fashioncnn.inference.predictor import Predictor
from fashioncnn.models.backend import torch_predictor
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.runs import RunFolder
from fashioncnn.training.run import TrainingResult


@dataclass(frozen=True)
class Fitted:
    """A trained model, and how its user gave the labels.

    Attributes:
        model: trained.
        classes: (classes,) what is predicted, by code.
        history: one record per epoch.
        features: values per row, if the model was trained on rows of pixels.
        loaded: whether the model was loaded, so that its settings are not known.
        trained_on: SHA-256 of the training split, if it is known.
    """

    model: TrainedModel
    classes: NDArray[Any]
    history: list[dict[str, Any]]
    features: int | None = None
    loaded: bool = False
    trained_on: str | None = None

    @cached_property
    def predictor(self) -> Predictor:
        """Predicts with the model."""
        return torch_predictor(self.model)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the model on the CPU, since another machine may have no GPU."""
        state = {name: value for name, value in self.__dict__.items() if name != "predictor"}
        if self.model.device.type != "cpu":
            network = copy.deepcopy(self.model.network).to(torch.device("cpu"))
            state["model"] = replace(self.model, network=network)
        return state


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
        return Fitted(model, classes, result.history, trained_on=sha256)
    spec = model.spec.replace(predicts_names=classes.dtype.kind == "U")
    named = replace(model, spec=spec)
    return Fitted(named, classes, result.history, features, trained_on=sha256)


def fitted_model(
    model: TrainedModel, history: Sequence[dict[str, Any]] = (), trained_on: str | None = None
) -> Fitted:
    """Return a model that was loaded."""
    classes = classes_of_model(model.spec)
    return Fitted(model, classes, list(history), loaded=True, trained_on=trained_on)


def load_fitted(path: Path, device: str, network: Any = None) -> Fitted:
    """Return the model of a run folder, a model folder, or a bundled model's name.

    Args:
        path: of the folder, or the name.
        device: name of a device, or ``auto``.
        network: the code of a custom network, or None.

    Raises:
        UsageError: there is no model at `path`, or `network` is missing or not needed.
        ModelError: its files are damaged.
    """
    model = load_with_network(path, device, network)
    folder = find_model(path)
    run = RunFolder(folder.parent)
    if folder.name != run.model.name or not run.config.exists():
        return fitted_model(model)
    hashes = run.read_environment().get("data", {}).get("sha256", {})
    return fitted_model(model, run.read_history(), hashes.get("train"))
