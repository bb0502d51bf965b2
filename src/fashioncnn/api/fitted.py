"""What training or loading gives a classifier."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from numpy.typing import NDArray

from fashioncnn.inference.predictor import Predictor
from fashioncnn.models.backend import torch_predictor
from fashioncnn.models.trained_model import TrainedModel


@dataclass(frozen=True)
class Fitted:
    """A trained model, and how its user gave the labels.

    Attributes:
        model: trained.
        classes: (classes,) what is predicted, by code.
        history: one record per epoch.
        features: values per row, if the model was trained on rows of pixels.
        loaded: whether the model was loaded, so that its settings are not known.
    """

    model: TrainedModel
    classes: NDArray[Any]
    history: list[dict[str, Any]]
    features: int | None = None
    loaded: bool = False

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
