"""A network with its specification, in memory and in a model folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from fashioncnn.artifacts.model_folder import (
    CONFIG,
    MAX_WEIGHTS_BYTES,
    WEIGHTS,
    ModelDescription,
    find_model,
    find_onnx,
    read_description,
    read_weights,
    write_model_folder,
)
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.devices import default_modes, isolated_torch_state
from fashioncnn.errors import ConfigError, ModelError, UsageError
from fashioncnn.models import (
    build_model,
    count_multiply_adds,
    count_parameters,
    measure_multiply_adds,
    place_network,
    set_kernels,
)
from fashioncnn.models.custom import NO_FILE, CustomNetwork, is_interactive
from fashioncnn.reading import parse_json
from fashioncnn.settings import CustomConfig, KernelsName, ModelConfig

MAX_HEADER_BYTES = 1 << 20
"""Limit on the header of model.safetensors; the deepest network of the recipes needs 10 kB."""
MAX_VALUE_BYTES = 8
"""Size of the largest type in which a value is stored."""
STORED_TYPES = frozenset({"F16", "F32", "F64", "I64"})
"""Types in model.safetensors: fp16 or fp32, whole numbers for counters."""
BUFFER_TYPES = frozenset({"I32", "U8", "BOOL"})
"""Further types in the buffers of custom networks (`fashioncnn.models.verification.STORABLE`)."""


@dataclass(frozen=True)
class TrainedModel:
    """A network and everything that is needed to use it.

    Attributes:
        network: in evaluation mode unless it is being trained.
        spec: of the network.
    """

    network: nn.Module
    spec: ModelSpec

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.network.parameters()).device

    @property
    def parameters(self) -> int:
        """The number of trainable parameters."""
        return count_parameters(self.network)

    @property
    def multiply_adds(self) -> int | None:
        """Multiply-adds of convolutions and linear layers per image; None if unknown."""
        spec = self.spec
        preprocessing = spec.preprocessing
        size, channels = preprocessing.image_size, preprocessing.channels
        if isinstance(spec.architecture, CustomConfig):
            return measure_multiply_adds(self.network, size, channels)
        return count_multiply_adds(spec.architecture, size, len(spec.labels), channels)

    def weights(self, *, half: bool = False) -> bytes:
        """Return the weights as safetensors, in a fixed layout and order.

        Args:
            half: store tensors of two and more dimensions in fp16; the others stay in fp32.
        """
        state = {n: t.detach().cpu() for n, t in self.network.state_dict().items()}
        stored = {n: t.half() if half and t.dim() > 1 else t for n, t in state.items()}
        return serialize(stored)

    def describe(self, weights: bytes | None = None) -> ModelDescription:
        """Return the description of `weights`; by default of those in fp32."""
        return ModelDescription(
            **{name: getattr(self.spec, name) for name in ModelSpec.model_fields},
            parameters=self.parameters,
            multiply_adds=self.multiply_adds,
            weights_sha256=hashlib.sha256(weights or self.weights()).hexdigest(),
        )

    @property
    def sha256(self) -> str:
        """SHA-256 that identifies weights and description together."""
        return self.describe().sha256


def save_model(model: TrainedModel, folder: Path, card: str, *, half: bool = False) -> None:
    """Write a model folder; existing files are replaced, each atomically.

    Args:
        model: to save.
        folder: created if missing.
        card: Markdown text of the model card.
        half: store weights in fp16, see `TrainedModel.weights`.
    """
    weights = model.weights(half=half)
    write_model_folder(folder, weights, model.describe(weights), card)


def load_model(
    path: Path,
    device: torch.device | None = None,
    kernels: KernelsName = "torch",
    network: CustomNetwork | None = None,
) -> TrainedModel:
    """Return the model of a run folder, a model folder or a bundled model's name.

    No code is imported: that of a custom network is an argument.

    Args:
        path: see `fashioncnn.artifacts.model_folder.find_model`.
        device: CPU by default.
        kernels: that the network computes with on the CPU.
        network: the code of a custom network.

    Raises:
        UsageError: there is no model at `path`, or `network` is missing or not needed.
        ModelError: its files are damaged, or do not belong together.
    """
    folder = find_model(path)
    if find_onnx(folder) is not None and not (folder / WEIGHTS).exists():
        raise UsageError(
            f"{path}: an ONNX file without {WEIGHTS}, which PyTorch needs; name the run or model "
            "folder that it was exported from"
        )
    description = read_description(folder)
    with default_modes():  # weights loaded in inference mode could not be trained
        custom = required_network(path, description.architecture, network)
        if custom is None:
            module = _load_network(folder, description)
        else:
            module = _load_custom(folder, description, custom)
        module.eval()
        place_network(module, device or torch.device("cpu"))
        set_kernels(module, kernels)
    return TrainedModel(module, description.spec)


def required_network(
    name: str | Path, architecture: ModelConfig, network: CustomNetwork | None
) -> CustomNetwork | None:
    """Return `network` if the model called `name` needs one; None if neither is the case.

    Raises:
        UsageError: the network is missing or not needed; the message is for Python.
    """
    if isinstance(architecture, CustomConfig):
        if network is None:
            origin = NO_FILE if is_interactive(architecture) else ""
            raise UsageError(
                f"{name}: needs the code of its network, {architecture.network}{origin}; pass it "
                "to Classifier.load as network=…"
            )
        return network
    if network is not None:
        raise UsageError(f"{name}: has the network {architecture.name}; remove network=…")
    return None


def _load_network(folder: Path, description: ModelDescription) -> nn.Module:
    size, channels = description.preprocessing.image_size, description.preprocessing.channels
    try:
        with torch.device("meta"):  # allocates nothing before the weights are known to fit
            network = build_model(description.architecture, size, len(description.labels), channels)
    except ConfigError as error:
        raise ModelError(f"{folder / CONFIG}: {error}") from None
    network.float()  # whatever the default dtype is
    state = _read_state(network, folder, description.weights_sha256)
    network.load_state_dict(state, assign=True)
    return network


def _load_custom(folder: Path, description: ModelDescription, network: CustomNetwork) -> nn.Module:
    size, channels = description.preprocessing.image_size, description.preprocessing.channels
    with isolated_torch_state():
        module = network.build(size, len(description.labels), channels)
    state = _read_state(
        module,
        folder,
        description.weights_sha256,
        f"network {network.name}",
        STORED_TYPES | BUFFER_TYPES,
    )
    module.load_state_dict(state)  # without `assign`, which would separate tied weights
    return module


def _declared_tensors(content: bytes, path: Path, known: Set[str]) -> dict[str, list[int]]:
    """Return the shapes in the header of a safetensors file; nothing is allocated for them.

    Raises:
        ModelError: the header is damaged, or declares a type that is not `known`.
    """
    size = int.from_bytes(content[:8], "little")
    try:
        if not 0 < size <= min(MAX_HEADER_BYTES, len(content) - 8):
            raise ValueError(f"header of {size:,} bytes")
        header = parse_json(content[8 : 8 + size])
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        types = {entry["dtype"] for entry in tensors.values()}
        if not types <= known:
            raise ValueError(f"values of type {', '.join(sorted(types - known))}")
        return {name: entry["shape"] for name, entry in tensors.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from None


def _read_state(
    network: nn.Module,
    folder: Path,
    sha256: str,
    name: str = f"the architecture in its {CONFIG}",
    types: Set[str] = STORED_TYPES,
) -> dict[str, Tensor]:
    """Return the state dict in a model folder, checked against that of the network."""
    path = folder / WEIGHTS
    expected = network.state_dict()
    values = sum(tensor.numel() for tensor in expected.values())
    limit = min(MAX_WEIGHTS_BYTES, MAX_HEADER_BYTES + MAX_VALUE_BYTES * values)
    content = read_weights(folder, sha256, limit)
    if _declared_tensors(content, path, types) != {n: [*t.shape] for n, t in expected.items()}:
        raise ModelError(f"{path}: not the weights of {name}")
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ModelError(f"{path}: cannot be read ({error})") from None
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise ModelError(f"{path}: contains weights that are not finite")
    return {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}


def serialize(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors as safetensors, also those that share memory, such as tied weights.

    Each is stored; loading them into a network with tied weights restores both.
    """
    seen: set[int] = set()

    def contiguous(tensor: Tensor) -> Tensor:
        pointer = tensor.untyped_storage().data_ptr()
        shares = pointer in seen
        seen.add(pointer)
        return tensor.clone().contiguous() if shares else tensor.contiguous()

    return save({name: contiguous(tensor) for name, tensor in tensors.items()})
