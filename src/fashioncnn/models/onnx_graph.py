"""The graph of an ONNX file, from a trained model."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fashioncnn.artifacts.onnx_file import FEATURES, IMAGES, LOGITS
from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.devices import default_modes, isolated_torch_state
from fashioncnn.errors import ModelError
from fashioncnn.models import set_kernels
from fashioncnn.models.backend import normalize
from fashioncnn.models.layers import ConvolutionalNetwork
from fashioncnn.models.onnx_bytes import serialize_graph
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.settings import CustomConfig

if TYPE_CHECKING:
    import onnx

OPSET = 20
"""Of ONNX 1.15; with its IR version 10, ONNX Runtime 1.18 and later read the file."""
CONSTRAINTS = "Constraints violated"
"""Start of the exporter's message if a network is not one for any number of images."""
FIXED_NUMBER = "its code fixes the number of images, as len(images) does: write images.shape[0]"
MAX_REASON = 200
"""Characters of the exporter's message in an error."""


@dataclass(frozen=True)
class Graph:
    """The graph of a network.

    Attributes:
        content: of an ONNX file without metadata.
        activation_weight: (classes, channels) float32 if the graph has the output `FEATURES`; see
            `fashioncnn.artifacts.onnx_file.ExportRecord.activation_weight`.
    """

    content: bytes
    activation_weight: NDArray[np.float32] | None


class ExportedNetwork(nn.Module):
    """A network whose input are uint8 images as in a dataset, the first part of the graph."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self.preprocessing = preprocessing

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the logits, and the features if the network has an activation weight.

        Args:
            images: (n, size, size) or (n, size, size, 3) uint8.
        """
        planes = images.unsqueeze(1) if images.dim() == 3 else images.permute(0, 3, 1, 2)
        inputs = normalize(planes, self.preprocessing)
        if _activation_weight(self.network) is None:
            return (self.network(inputs).float(),)
        features = self.network.features(inputs)  # type: ignore[operator]
        return self.network.head(features), features  # type: ignore[operator]


def export_graph(model: TrainedModel) -> Graph:
    """Return the graph of a model; the same model gives the same bytes.

    Args:
        model: not changed.

    Raises:
        ModelError: the network contains operations that cannot be exported.
    """
    network = copy.deepcopy(model.network).to("cpu").eval()
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    set_kernels(network, "torch")
    preprocessing = model.spec.preprocessing
    with default_modes(), isolated_torch_state(), torch.no_grad(), quiet():
        weight = _activation_weight(network)
        exported = _export(ExportedNetwork(network, preprocessing), preprocessing, model)
    return Graph(serialize_graph(exported), None if weight is None else weight.numpy())


def _activation_weight(network: nn.Module) -> Tensor | None:
    return network.activation_weight() if isinstance(network, ConvolutionalNetwork) else None


def _export(
    network: ExportedNetwork, preprocessing: Preprocessing, model: TrainedModel
) -> onnx.ModelProto:
    """Return the graph with constants computed, but with the network's layers as they are.

    The exporter's own optimization would merge normalizations into convolutions, whose weights
    then have no short form (`fashioncnn.models.onnx_bytes`). ONNX Runtime does that when it loads
    the file.
    """
    import onnx_ir
    from onnxscript import optimizer

    images = torch.zeros((2, *preprocessing.input_shape), dtype=torch.uint8)
    try:
        dynamic = ({0: torch.export.Dim("n", min=1)},)
        traced = torch.export.export(network, (images,), dynamic_shapes=dynamic, strict=False)
        program = torch.onnx.export(
            traced,
            dynamo=True,
            input_names=[IMAGES],
            output_names=[LOGITS, FEATURES][: len(network(images))],
            opset_version=OPSET,
            optimize=False,
            verbose=False,
        )
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:  # of the exporter
        reason = _reason(error)
        architecture = model.spec.architecture
        name = architecture.network if isinstance(architecture, CustomConfig) else architecture.name
        raise ModelError(
            f"network {name}: cannot be exported to ONNX ({reason}); use operations that "
            "torch.export supports, for any number of images"
        ) from None
    assert program is not None  # noqa: S101 - with dynamo
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    return onnx_ir.to_proto(program.model)


def _reason(error: Exception) -> str:
    """Return why a network cannot be exported, in one line."""
    lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
    return FIXED_NUMBER if lines[0].startswith(CONSTRAINTS) else lines[0][:MAX_REASON]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep exporter and quantizer from printing messages about themselves, process-wide."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
