"""Static quantization of a graph to int8, calibrated on images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from fashioncnn.artifacts.onnx_file import IMAGES, MAX_ONNX_BYTES
from fashioncnn.errors import ModelError
from fashioncnn.inference.onnx_backend import FATAL, runtime_errors
from fashioncnn.models.onnx_bytes import serialize_graph
from fashioncnn.models.onnx_graph import quiet
from fashioncnn.reading import read_bytes

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
"""Ways to choose the range of a value from calibration images, the fastest first."""
WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Operations with weights; the first and the last of a network stay in fp32, since they have few
operations and their rounding costs most accuracy."""
BATCH_SIZE = 50


class CalibrationImages(CalibrationDataReader):  # type: ignore[misc]
    """The images for calibration, in batches."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        batches = range(0, len(images), BATCH_SIZE)
        self._batches: Iterator[dict[str, Any]] = iter(
            {IMAGES: images[start : start + BATCH_SIZE]} for start in batches
        )

    def get_next(self) -> dict[str, Any] | None:
        """Return the next batch; None after the last."""
        return next(self._batches, None)


def quantize(graph: bytes, images: NDArray[np.uint8], method: str) -> bytes:
    """Return a graph that computes in int8, with quantize and dequantize nodes (QDQ).

    Weights are symmetric per output channel with 7 bits, so that the sum of two products fits
    into the 16 bits that CPUs without VNNI have for it. Activations have 8 bits.

    Args:
        graph: in fp32.
        images: (n, size, size[, 3]) uint8 training images for calibration, n > 0.
        method: key of `METHODS`.

    Raises:
        ModelError: the graph has nothing that can be quantized.
    """
    failures: tuple[type[Exception], ...] = (*runtime_errors(), ValueError, TypeError, KeyError)
    try:
        with TemporaryDirectory(prefix="fashioncnn-") as folder, quiet():
            quantized = _quantize(graph, CalibrationImages(images), METHODS[method], Path(folder))
    except failures as error:  # of the quantizer
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the network cannot be quantized to int8 ({first[:200]})") from None
    if all(node.op_type != "QuantizeLinear" for node in quantized.graph.node):
        raise ModelError(
            "the network has no convolution or linear layer that can be quantized to int8"
        )
    return serialize_graph(quantized)


def _quantize(
    graph: bytes, images: CalibrationImages, method: CalibrationMethod, folder: Path
) -> onnx.ModelProto:
    optimized, quantized = folder / "optimized.onnx", folder / "int8.onnx"
    _optimize(graph, optimized)
    quantize_static(
        optimized,
        quantized,
        images,
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=_ends(_load(optimized)),
        calibrate_method=method,
    )
    return _load(quantized)


def _load(path: Path) -> onnx.ModelProto:
    return onnx.load_from_string(read_bytes(path, MAX_ONNX_BYTES))


def _optimize(graph: bytes, path: Path) -> None:
    """Write a graph whose constants are computed and whose normalizations are merged."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _ends(model: onnx.ModelProto) -> list[str]:
    """Return the names of the first and the last operation with weights, of more than two."""
    names = [node.name for node in model.graph.node if node.op_type in WEIGHTED]
    return [names[0], names[-1]] if len(names) > 2 else []
