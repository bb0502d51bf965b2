"""The model folder: ``config.json``, ``model.safetensors`` and a model card. No pickle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from fashioncnn.artifacts.ood import Floats, OODDetector
from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.errors import ConfigError, ModelError, UsageError
from fashioncnn.files import write_atomic, write_json
from fashioncnn.migration import migrate_model_description
from fashioncnn.models import build_model, count_multiply_adds, count_parameters, place_network
from fashioncnn.settings import ModelConfig

SCHEMA = 2


@dataclass(frozen=True)
class TrainedModel:
    """A network with all that is needed to use it.

    Attributes:
        network: in evaluation mode unless it is being trained.
        config: its architecture.
        class_names: by label.
        preprocessing: from pixels to input.
        dataset: name of the data set that it learnt from.
        temperature: what logits are divided by to make probabilities.
        abstain_below: the confidence below which the likeliest class is no answer.
        membership: what makes a confidence of logits; None takes the likeliest class's probability.
    """

    network: nn.Module
    config: ModelConfig
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    dataset: str
    temperature: float = 1.0
    abstain_below: float = 0.0
    ood_detector: OODDetector | None = None

    @property
    def parameters(self) -> int:
        """The number of trainable values."""
        return count_parameters(self.network)

    @property
    def multiply_adds(self) -> int:
        """Those of convolutions and linear layers, for one image."""
        size, classes = self.preprocessing.image_size, len(self.class_names)
        return count_multiply_adds(self.config, size, classes)

    def confidences(self, probabilities: Floats, spreads: Floats) -> Floats:
        """Return how sure answers are, (n,) float64 in [0, 1].

        It is how probably an image shows one of the classes at all, where that was fitted, and
        else the probability of the likeliest class.

        Args:
            probabilities: (n, classes) float64.
            spreads: (n,) float64, see `fashioncnn.artifacts.ood.logit_std`.
        """
        if self.ood_detector is not None:
            return self.ood_detector.probability(spreads)
        likeliest: Floats = probabilities.max(1)
        return likeliest

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.network.parameters()).device

    def description(self, weights: bytes | None = None) -> dict[str, Any]:
        """Return the content of ``config.json`` beside `weights`; None are those in fp32."""
        return {
            "schema": SCHEMA,
            "architecture": self.config.model_dump(mode="json"),
            "labels": list(self.class_names),
            "preprocessing": asdict(self.preprocessing),
            "dataset": self.dataset,
            "temperature": self.temperature,
            "abstain_below": self.abstain_below,
            "ood_detector": None if self.ood_detector is None else asdict(self.ood_detector),
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "weights_sha256": hashlib.sha256(weights or self.weights()).hexdigest(),
        }

    def weights(self, *, half: bool = False) -> bytes:
        """Return the weights as safetensors, always in the same layout and order.

        Args:
            half: matrices and convolutions in fp16, half the bytes; the few others stay in fp32.
        """
        state = {n: t.detach().cpu() for n, t in self.network.state_dict().items()}
        kept = {n: t.half() if half and t.dim() > 1 else t for n, t in state.items()}
        return save({name: tensor.contiguous() for name, tensor in kept.items()})

    @property
    def sha256(self) -> str:
        """Identity of weights and description together."""
        content = json.dumps(self.description(), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def save_model(model: TrainedModel, folder: Path, card: str, *, half: bool = False) -> None:
    """Write the model folder; files that are there are replaced, each as a whole.

    Args:
        model: what to write.
        folder: made where it is missing.
        card: the content of its README.md.
        half: weights in fp16, see `TrainedModel.weights`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = model.weights(half=half)
    write_atomic(folder / "model.safetensors", weights)
    write_json(folder / "config.json", model.description(weights))
    write_atomic(folder / "README.md", card.encode())


def bundled_models() -> dict[str, Path]:
    """Return the model folders that come with the package, by name."""
    folder = Path(__file__).parents[1] / "weights"
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/config.json"))}


def find_model(path: Path) -> Path:
    """Return the model folder that `path` names.

    That is itself, or the one within a run folder, or the one of that name that comes with the
    package; what lies in the current folder goes first.

    Raises:
        UsageError: there is none.
    """
    for folder in (path, path / "model"):
        if (folder / "config.json").exists():
            return folder
    if (path / "config.toml").exists():
        raise UsageError(f"{path}: this run has no model yet; finish it with --resume {path}")
    shipped = bundled_models()
    if str(path) in shipped:
        return shipped[str(path)]
    if not path.exists():
        names = f", and no model of that name (there is {', '.join(shipped)})" if shipped else ""
        raise UsageError(f"{path}: no such run or model folder{names}")
    raise UsageError(f"{path}: neither a run nor a model folder (no config.json)")


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the names of the classes that the model of a run or model folder knows, by label.

    Raises:
        UsageError: there is no model at `path`.
        ModelError: its description is damaged.
    """
    return tuple(_read_description(find_model(path) / "config.json").labels)


def load_model(path: Path, device: torch.device | None = None) -> TrainedModel:
    """Return the model of a run or model folder, ready to be used.

    Raises:
        UsageError: there is no model at `path`.
        ModelError: its files are damaged, or do not belong together.
    """
    folder = find_model(path)
    description = _read_description(folder / "config.json")
    names = description.labels
    try:
        with torch.device("meta"):  # nothing is allocated before the weights are known to fit
            network = build_model(
                description.architecture, description.preprocessing.image_size, len(names)
            )
    except ConfigError as error:
        raise ModelError(f"{folder / 'config.json'}: {error}") from None
    _load_weights(network, folder / "model.safetensors", description.weights_sha256)
    network.eval()
    place_network(network, device or torch.device("cpu"))
    return TrainedModel(
        network,
        description.architecture,
        tuple(names),
        description.preprocessing,
        description.dataset,
        description.temperature,
        description.abstain_below,
        description.ood_detector,
    )


class _Description(BaseModel):
    """``config.json``, checked."""

    schema_: Literal[2] = Field(alias="schema")
    architecture: ModelConfig
    labels: Annotated[list[str], Field(min_length=2, max_length=256)]
    preprocessing: Preprocessing
    dataset: str
    temperature: Annotated[float, Field(gt=0)] = 1.0
    abstain_below: Annotated[float, Field(ge=0, lt=1)] = 0.0
    ood_detector: OODDetector | None = None
    weights_sha256: str


def _read_description(path: Path) -> _Description:
    try:
        content = path.read_bytes()
        values = json.loads(content)
        if isinstance(values, dict) and values.get("schema") == 1:
            content = json.dumps(migrate_model_description(values)).encode()
        return _Description.model_validate_json(content)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        if not isinstance(error, ValidationError):
            raise ModelError(f"{path}: not understood (JSON: {error})") from None
        fault = error.errors()[0]
        key = ".".join(str(p) for p in fault["loc"]) or "JSON"
        raise ModelError(f"{path}: not understood ({key}: {fault['msg']})") from None


def _load_weights(network: nn.Module, path: Path, sha256: str) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be loaded ({error.strerror})") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(f"{path}: damaged, or not the weights of its config.json (SHA-256)")
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ModelError(f"{path}: cannot be loaded ({error})") from None
    expected = network.state_dict()
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in expected.items()}:
        raise ModelError(f"{path}: not the weights of the architecture in its config.json")
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise ModelError(f"{path}: holds weights that are not finite")
    whole = {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}
    network.load_state_dict(whole, assign=True)
