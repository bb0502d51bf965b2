"""The bytes of an ONNX file: nothing of the machine in them, weights as small as is exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fashioncnn._version import __version__

if TYPE_CHECKING:
    import onnx

IR_VERSION = 10
"""Version of the format, of ONNX 1.16."""
BATCH = "n"
"""Name of the number of images, which is dynamic."""
MIN_HALF = 256
"""Values of a tensor from which on it is stored in fp16 if that is exact."""


def serialize_graph(model: onnx.ModelProto) -> bytes:
    """Return the content of an ONNX file without metadata; the same model gives the same bytes.

    Names of source files and code, which the exporter adds to nodes, are removed. Weights whose
    values all have fp16 precision, such as those of bundled models, are stored in fp16 with a
    conversion in the graph, which ONNX Runtime computes once.

    Args:
        model: is changed.
    """
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "fashioncnn", __version__
    graph = model.graph
    del graph.value_info[:]  # shapes of intermediate values, which a reader infers
    graph.name = "network"
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    _remove_notes([model, graph, *graph.input, *graph.output, *graph.initializer, *graph.node])
    _store_in_half(graph)
    return bytes(model.SerializeToString(deterministic=True))


def append_metadata(graph: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return the content of an ONNX file with metadata after its graph.

    Concatenated messages of the format (protobuf) are one message with the fields of both.
    """
    import onnx

    message = onnx.ModelProto()
    for key, value in metadata.items():
        message.metadata_props.add(key=key, value=value)
    return graph + bytes(message.SerializeToString(deterministic=True))


def _remove_notes(messages: Iterable[Any]) -> None:
    for message in messages:
        message.ClearField("doc_string")
        message.ClearField("metadata_props")


def _store_in_half(graph: onnx.GraphProto) -> None:
    """Store weights in fp16 where that is exact, each followed by a node that converts it."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < MIN_HALF or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.fp16"))
        casts.append(helper.make_node("Cast", [f"{name}.fp16"], [name], name, to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
