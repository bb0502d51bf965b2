"""Quantization: which values are stored in int8, and that the logits stay close."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fashioncnn.errors import ModelError
from fashioncnn.models.onnx_check import GraphBackend
from fashioncnn.models.onnx_int8 import METHODS, quantize

SIZE, CHANNELS, CLASSES = 8, 6, 3


def make_graph(convolutions):
    """Return a graph of convolutions with ReLU, a mean and a linear layer, with random weights."""
    rng = np.random.default_rng(0)
    weights = {"axis": np.array([1]), "axes": np.array([2, 3])}
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["float", "axis"], ["0"]),
    ]
    for number in range(convolutions):
        inputs = CHANNELS if number else 1
        scale = 0.01 if number == 0 else 0.3
        weights[f"w{number}"] = rng.normal(0, scale, (CHANNELS, inputs, 3, 3)).astype(np.float32)
        nodes += [
            helper.make_node("Conv", [str(number), f"w{number}"], [f"c{number}"], f"conv{number}"),
            helper.make_node("Relu", [f"c{number}"], [str(number + 1)]),
        ]
    nodes.append(helper.make_node("ReduceMean", [str(convolutions), "axes"], ["mean"], keepdims=0))
    features = CHANNELS if convolutions else 1
    weights["head"] = rng.normal(0, 1, (features, CLASSES)).astype(np.float32)
    if convolutions:
        nodes.append(helper.make_node("MatMul", ["mean", "head"], ["logits"], "linear"))
    else:
        nodes.append(helper.make_node("Identity", ["mean"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", None])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return model.SerializeToString()


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (40, SIZE, SIZE), np.uint8)


def int8_weights(content):
    """Return the convolutions' weights that are stored in int8."""
    tensors = onnx.load_from_string(content).graph.initializer
    weights = [numpy_helper.to_array(t) for t in tensors if t.data_type == TensorProto.INT8]
    return [values for values in weights if values.ndim == 4]


@pytest.mark.parametrize("method", METHODS)
def test_logits_stay_close(images, method):
    graph = make_graph(3)
    expected = GraphBackend(graph).logits(images)
    logits = GraphBackend(quantize(graph, images, method)).logits(images)
    assert 0 < np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()


def test_weights_have_seven_bits_and_a_scale_per_channel(images):
    model = onnx.load_from_string(quantize(make_graph(3), images, "minmax"))
    for weight in int8_weights(model.SerializeToString()):
        highest = np.abs(weight.astype(int)).max(axis=(1, 2, 3))
        np.testing.assert_array_equal(highest, 64)  # of each channel; with 8 bits it is 127


def test_first_and_last_layer_stay_in_fp32(images):
    content = quantize(make_graph(3), images, "minmax")
    assert len(int8_weights(content)) == 2  # of the second and third convolution
    stored = {t.name: t.data_type for t in onnx.load_from_string(content).graph.initializer}
    assert stored["w0"] == stored["head"] == TensorProto.FLOAT


def test_both_of_two_layers_are_quantized(images):
    content = quantize(make_graph(1), images, "minmax")
    assert len(int8_weights(content)) == 1


def test_network_without_such_layers_is_rejected(images):
    with pytest.raises(ModelError, match="no convolution or linear layer"):
        quantize(make_graph(0), images, "minmax")


def test_quantizing_prints_nothing_and_is_deterministic(images, capfd):
    graph = make_graph(2)
    assert quantize(graph, images, "entropy") == quantize(graph, images, "entropy")
    assert capfd.readouterr() == ("", "")
