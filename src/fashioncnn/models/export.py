"""Export of a trained model as one ONNX file, verified before it is written."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from fashioncnn._version import __version__
from fashioncnn.artifacts.model_folder import ModelDescription
from fashioncnn.artifacts.onnx_file import (
    GENERATED,
    ExportRecord,
    Verification,
    encode_metadata,
    encode_weight,
)
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.data.dataset import Split
from fashioncnn.data.generated import generate_images
from fashioncnn.errors import QualityGateError
from fashioncnn.inference.backend import Backend
from fashioncnn.inference.predictor import Predictor
from fashioncnn.models.backend import TorchBackend
from fashioncnn.models.onnx_bytes import append_metadata
from fashioncnn.models.onnx_check import GraphBackend, compare, require_within_limits
from fashioncnn.models.onnx_graph import Graph, export_graph
from fashioncnn.models.onnx_int8 import METHODS, quantize
from fashioncnn.models.trained_model import TrainedModel

GENERATED_IMAGES = 1000
BATCH_SIZE = 250
MAX_ACCURACY_LOSS = 0.002
"""Of int8 relative to fp32, on the validation split."""
TIMED_IMAGES = 200
TIMED_ROUNDS = 5

Images = NDArray[np.uint8]
Precision = Literal["fp32", "int8"]


@dataclass(frozen=True)
class ExportedModel:
    """A verified ONNX file.

    Attributes:
        content: of the file.
        record: of the export, which is part of the content.
        calibration: method that chose the ranges of int8; None in fp32.
        speedup: of int8, the time of fp32 divided by that of int8; None in fp32.
        bytes_fp32: of int8, the size of the graph in fp32; None in fp32.
    """

    content: bytes
    record: ExportRecord
    calibration: str | None = None
    speedup: float | None = None
    bytes_fp32: int | None = None


def export_model(
    model: TrainedModel,
    description: ModelDescription,
    images: Images | None = None,
    data: str = GENERATED,
) -> ExportedModel:
    """Return the ONNX file of a model in fp32, after comparing its logits with PyTorch's.

    Args:
        model: on the CPU.
        description: of its model folder.
        images: (n, size, size[, 3]) uint8 to compare on; by default they are generated.
        data: name of `images`.

    Raises:
        ModelError: the network contains operations that cannot be exported.
        QualityGateError: the logits differ by more than the limits of
            `fashioncnn.models.onnx_check.is_within_limits`.
    """
    graph, backend = export_graph(model), TorchBackend(model)
    if images is None:
        shape = model.spec.preprocessing.input_shape
        batches: Iterable[Images] = generate_images(shape, GENERATED_IMAGES)
    else:
        batches = _batches(images)
    verification, within = compare(GraphBackend(graph.content), backend, batches, data)
    require_within_limits(verification, within)
    return _exported(description, "fp32", verification, graph)


def export_int8(
    model: TrainedModel,
    description: ModelDescription,
    calibration: Images,
    validation: Split,
    data: str,
) -> ExportedModel:
    """Return the ONNX file of a model in int8, after comparing its accuracy with PyTorch's.

    The calibration methods are tried in their order until one is within the limit.

    Args:
        model: on the CPU.
        description: of its model folder.
        calibration: (n, size, size[, 3]) uint8 training images, n > 0.
        validation: to measure the accuracy on.
        data: name of the data.

    Raises:
        ModelError: the network contains operations that cannot be exported.
        QualityGateError: the accuracy is more than `MAX_ACCURACY_LOSS` below that of fp32.
    """
    graph, reference = export_graph(model), TorchBackend(model)
    accuracy_fp32 = _accuracy(reference, model.spec, validation)
    accuracies = {}
    for method in METHODS:
        quantized = Graph(quantize(graph.content, calibration, method), graph.activation_weight)
        backend = GraphBackend(quantized.content)
        accuracies[method] = _accuracy(backend, model.spec, validation)
        if accuracies[method] < accuracy_fp32 - MAX_ACCURACY_LOSS:
            continue
        compared, _ = compare(backend, reference, _batches(validation.stacked_views), data)
        verification = compared.model_copy(
            update={"accuracy": accuracies[method], "accuracy_fp32": accuracy_fp32}
        )
        exported = _exported(description, "int8", verification, quantized)
        speedup = _speedup(GraphBackend(graph.content), backend, validation.stacked_views)
        return replace(exported, bytes_fp32=len(graph.content), calibration=method, speedup=speedup)
    best = max(accuracies, key=accuracies.__getitem__)
    raise QualityGateError(
        f"int8: accuracy {accuracies[best]:.2%} on {len(validation):,} validation images of "
        f"{data}, {accuracy_fp32:.2%} in fp32; more than {100 * MAX_ACCURACY_LOSS:g} points are "
        "lost with every calibration method, and no file was written"
    )


def _exported(
    description: ModelDescription, precision: Precision, verification: Verification, graph: Graph
) -> ExportedModel:
    """Return the file with a verified graph."""
    record = ExportRecord(
        version=__version__,
        precision=precision,
        verification=verification,
        head_weight=encode_weight(graph.activation_weight),
        weights_sha256=description.weights_sha256,
        graph_bytes=len(graph.content),
        graph_sha256=hashlib.sha256(graph.content).hexdigest(),
    )
    content = append_metadata(graph.content, encode_metadata(description, record))
    return ExportedModel(content, record)


def _batches(images: Images) -> Iterable[Images]:
    return (images[i : i + BATCH_SIZE] for i in range(0, len(images), BATCH_SIZE))


def _accuracy(backend: Backend | GraphBackend, spec: ModelSpec, split: Split) -> float:
    """Return the accuracy of predictions, which include views and test-time augmentation."""
    predictions = Predictor(cast("Backend", backend), spec).predict_views(split.all_views)
    return float((predictions.probabilities.argmax(axis=1) == split.labels).mean())


def _speedup(fp32: GraphBackend, int8: GraphBackend, images: Images) -> float:
    """Return the median ratio of times for the same images, measured in turns."""
    images = images[:TIMED_IMAGES]
    return median(_seconds(fp32, images) / _seconds(int8, images) for _ in range(TIMED_ROUNDS))


def _seconds(backend: GraphBackend, images: Images) -> float:
    start = time.perf_counter()
    backend.logits(images)
    return time.perf_counter() - start
