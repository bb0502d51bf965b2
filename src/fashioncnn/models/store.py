"""The model folder: ``config.json``, ``model.safetensors`` and a model card. No pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from fashioncnn.config import FashionCNNConfig
from fashioncnn.errors import ConfigError, ModelError, UsageError
from fashioncnn.models import build_model, count_parameters, place_network
from fashioncnn.models.preprocessing import Preprocessing
from fashioncnn.runs import write_atomic, write_json

SCHEMA = 1


@dataclass(frozen=True)
class TrainedModel:
    """A network with all that is needed to use it.

    Attributes:
        network: in evaluation mode unless it is being trained.
        config: its architecture.
        class_names: by label.
        preprocessing: from pixels to input.
        dataset: name of the data set that it learnt from.
    """

    network: nn.Module
    config: FashionCNNConfig
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    dataset: str

    @property
    def parameters(self) -> int:
        """The number of trainable values."""
        return count_parameters(self.network)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.network.parameters()).device

    def description(self) -> dict[str, Any]:
        """Return the content of ``config.json``."""
        return {
            "schema": SCHEMA,
            "architecture": self.config.model_dump(mode="json"),
            "labels": list(self.class_names),
            "preprocessing": asdict(self.preprocessing),
            "dataset": self.dataset,
            "parameters": self.parameters,
            "weights_sha256": hashlib.sha256(self.weights()).hexdigest(),
        }

    def weights(self) -> bytes:
        """Return the weights as safetensors, always in the same layout and order."""
        state = self.network.state_dict()
        return save({name: t.detach().cpu().contiguous() for name, t in state.items()})

    @property
    def sha256(self) -> str:
        """Identity of weights and description together."""
        content = json.dumps(self.description(), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def save_model(model: TrainedModel, folder: Path, card: str) -> None:
    """Write the model folder; files that are there are replaced, each as a whole."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "model.safetensors", model.weights())
    write_json(folder / "config.json", model.description())
    write_atomic(folder / "README.md", card.encode())


def find_model(path: Path) -> Path:
    """Return the model folder that `path` names: itself, or the one within a run folder.

    Raises:
        UsageError: there is none.
    """
    for folder in (path, path / "model"):
        if (folder / "config.json").exists():
            return folder
    if not path.exists():
        raise UsageError(f"{path}: no such run or model folder")
    if (path / "config.toml").exists():
        raise UsageError(f"{path}: this run has no model yet; finish it with --resume {path}")
    raise UsageError(f"{path}: neither a run nor a model folder (no config.json)")


def load_model(path: Path, device: torch.device | None = None) -> TrainedModel:
    """Return the model of a run or model folder, ready to be used.

    Raises:
        UsageError: there is no model at `path`.
        ModelError: its files are damaged, or do not belong together.
    """
    folder = find_model(path)
    description = _read_description(folder / "config.json")
    try:
        config = TypeAdapter(FashionCNNConfig).validate_python(description["architecture"])
        preprocessing = TypeAdapter(Preprocessing).validate_python(description["preprocessing"])
        class_names = tuple(TypeAdapter(list[str]).validate_python(description["labels"]))
        network = build_model(config, preprocessing.image_size, len(class_names))
    except KeyError as error:
        raise ModelError(f"{folder / 'config.json'}: has no {error}") from None
    except (ValidationError, ConfigError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{folder / 'config.json'}: not understood ({reason})") from None
    weights = folder / "model.safetensors"
    try:
        content = weights.read_bytes()
        if hashlib.sha256(content).hexdigest() != description.get("weights_sha256"):
            raise ModelError(f"{weights}: damaged, or not the weights of its config.json (SHA-256)")
        network.load_state_dict(load(content))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{weights}: cannot be loaded ({reason})") from None
    network.eval()
    place_network(network, device or torch.device("cpu"))
    dataset = str(description.get("dataset", "unknown"))
    return TrainedModel(network, config, class_names, preprocessing, dataset)


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description: dict[str, Any] = json.loads(path.read_bytes())
        schema = description["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: damaged ({error})") from None
    if schema != SCHEMA:
        raise ModelError(f"{path}: schema {schema}, this version reads {SCHEMA}; update fashioncnn")
    return description
