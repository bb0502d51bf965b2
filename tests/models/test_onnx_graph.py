"""Exported graphs compute what PyTorch computes: every architecture, any number of images."""

import functools
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.errors import ModelError
from fashioncnn.models import build_model, place_network
from fashioncnn.models.backend import TorchBackend
from fashioncnn.models.custom import as_custom_network
from fashioncnn.models.layers import KernelLayer
from fashioncnn.models.onnx_check import GraphBackend, is_within_limits
from fashioncnn.models.onnx_graph import export_graph
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.settings import (
    BatchNormCNNConfig,
    FashionCNNConfig,
    ResidualCNNConfig,
)

LABELS = ("a", "b", "c")
RESIDUAL = {"name": "residual_cnn", "channels": (4, 8), "blocks": (1, 1)}
ARCHITECTURES = {
    "fashion_cnn": FashionCNNConfig(channels=(4, 8), hidden=16),
    "batchnorm_cnn": BatchNormCNNConfig(name="batchnorm_cnn", channels=(4, 8)),
    "residual_cnn": ResidualCNNConfig(**RESIDUAL),
    "flip_equivariant": ResidualCNNConfig(**RESIDUAL, flip_equivariant=True),
}


def make_model(config, channels=1, size=12, half=False):
    """Return a model whose weights and statistics are random."""
    torch.manual_seed(0)
    network = build_model(config, size, len(LABELS), channels)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) * 0.4 + 0.05)
            if half:
                tensor.copy_(tensor.half().to(tensor.dtype))
    place_network(network.eval(), torch.device("cpu"))
    preprocessing = Preprocessing(size, 0.25, 0.5, "plain", channels)
    return TrainedModel(
        network,
        ModelSpec(architecture=config, labels=LABELS, preprocessing=preprocessing, dataset="own"),
    )


def random_images(model, n=5):
    shape = (n, *model.spec.preprocessing.input_shape)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@functools.cache
def exported_graph(name, channels=1):
    """Return the graph of `make_model`; an export takes seconds."""
    return export_graph(make_model(ARCHITECTURES[name], channels))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_are_those_of_pytorch(name, channels):
    model = make_model(ARCHITECTURES[name], channels)
    graph = GraphBackend(exported_graph(name, channels).content)
    images = random_images(model)
    for n in (1, 5):
        expected = TorchBackend(model).logits(images[:n])
        np.testing.assert_allclose(graph.logits(images[:n]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["residual_cnn", "flip_equivariant"])
def test_activation_maps_follow_from_features_and_weight(name):
    model = make_model(ARCHITECTURES[name])
    exported = exported_graph(name)
    images, label = random_images(model), 2
    features = GraphBackend(exported.content).run("features", images)
    sums = np.einsum("c,nchw->nhw", exported.activation_weight[label], features)
    expected = TorchBackend(model).activation_maps(images, np.full(len(images), label))
    positions = features.shape[2] * features.shape[3]
    np.testing.assert_allclose(np.maximum(sums, 0) / positions, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["fashion_cnn", "batchnorm_cnn"])
def test_other_heads_have_no_features(name):
    exported = exported_graph(name)
    assert exported.activation_weight is None
    assert [x.name for x in onnx.load_from_string(exported.content).graph.output] == ["logits"]


def test_graph_is_standard_and_contains_nothing_of_the_machine():
    content = exported_graph("flip_equivariant").content
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert [(x.domain, x.version) for x in model.opset_import] == [("", 20)]
    assert model.ir_version == 10
    assert not model.functions
    for text in (b".py", b"site-packages", str(Path.cwd()).encode(), b"stack_trace", b"aten"):
        assert text not in content


def test_same_model_gives_the_same_bytes():
    model = make_model(ARCHITECTURES["fashion_cnn"])
    assert export_graph(model).content == exported_graph("fashion_cnn").content


def test_weights_that_are_exact_in_fp16_are_stored_so():
    config = FashionCNNConfig(channels=(8, 16), hidden=64)
    full, half = (export_graph(make_model(config, half=half)).content for half in (False, True))
    assert len(half) < 0.6 * len(full)
    model = make_model(config, half=True)
    images = random_images(model)
    expected = TorchBackend(model).logits(images)
    np.testing.assert_allclose(GraphBackend(half).logits(images), expected, rtol=1e-4, atol=1e-5)


def test_export_changes_neither_the_model_nor_the_state_of_the_process():
    model = make_model(ARCHITECTURES["residual_cnn"])
    model.network.train()
    before = {n: t.clone() for n, t in model.network.state_dict().items()}
    state, disabled = torch.get_rng_state(), logging.root.manager.disable
    export_graph(model)
    assert model.network.training
    assert model.network.stem.weight.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(before[n], t) for n, t in model.network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert logging.root.manager.disable == disabled


def test_compiled_kernels_are_not_exported():
    model = make_model(ARCHITECTURES["residual_cnn"])
    kernels = object()  # which fails if it is used
    for layer in model.network.modules():
        if isinstance(layer, KernelLayer):
            layer.kernels = kernels
    content = export_graph(model).content
    assert content == exported_graph("residual_cnn").content
    assert model.network.stem.kernels is kernels


class Convolutions(nn.Module):
    """A custom network with code that is usual in others."""

    def __init__(self, classes, in_channels):
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.output = nn.Linear(4, classes)

    def forward(self, images):
        features = torch.relu(self.norm(self.convolution(images)))
        first, second = features.chunk(2, dim=1)
        pooled = torch.cat([second, first], dim=1).view(images.shape[0], 4, -1).mean(-1)
        return self.output(pooled)


class DependsOnPixels(nn.Module):
    """A custom network whose operations depend on the values, so that it has no graph."""

    def __init__(self, classes):
        super().__init__()
        self.output = nn.LazyLinear(classes)

    def forward(self, images):
        flat = images.flatten(1)
        return self.output(flat) if flat.sum() > 0 else self.output(-flat)


class FixesNumber(Convolutions):
    """A network whose code has a fixed number of images when it is exported."""

    def forward(self, images):
        return super().forward(images.reshape(len(images), *images.shape[1:]))


class AnyNumber(Convolutions):
    def forward(self, images):
        return super().forward(images.reshape(images.shape[0], *images.shape[1:]))


def custom_model(source, channels=1, size=12):
    custom = as_custom_network(source)
    preprocessing = Preprocessing(size, 0.25, 0.5, "plain", channels)
    spec = ModelSpec(
        architecture=custom.config, labels=LABELS, preprocessing=preprocessing, dataset="own"
    )
    return TrainedModel(custom.build(size, len(LABELS), channels).eval(), spec)


@pytest.mark.parametrize("channels", [1, 3])
def test_custom_network_is_exported(channels):
    model = custom_model(Convolutions, channels)
    exported = export_graph(model)
    images = random_images(model)
    expected = TorchBackend(model).logits(images)
    assert is_within_limits(GraphBackend(exported.content).logits(images), expected)
    assert exported.activation_weight is None


def test_network_that_fixes_the_number_of_images_is_reported_with_a_remedy():
    with pytest.raises(ModelError, match=r"FixesNumber: .*write images\.shape\[0\]") as raised:
        export_graph(custom_model(FixesNumber))
    assert "\n" not in str(raised.value)
    assert export_graph(custom_model(AnyNumber)).content


def test_network_that_cannot_be_exported_is_reported_in_one_line(capfd):
    with pytest.raises(ModelError, match="DependsOnPixels: cannot be exported to ONNX") as raised:
        export_graph(custom_model(DependsOnPixels))
    message = str(raised.value)
    assert "\n" not in message
    assert len(message) < 400
    assert capfd.readouterr() == ("", "")


ANOTHER_PROCESS = """
import sys
from pathlib import Path
from fashioncnn.models.onnx_graph import export_graph
from fashioncnn.models.trained_model import load_model
Path(sys.argv[2]).write_bytes(export_graph(load_model(Path(sys.argv[1]))).content)
"""


@pytest.mark.slow
def test_bytes_depend_neither_on_the_process_nor_on_the_folder(tmp_path):
    outputs = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        command = [sys.executable, "-c", ANOTHER_PROCESS, "photo", "graph.onnx"]
        subprocess.run(command, cwd=folder, check=True)
        outputs.append((folder / "graph.onnx").read_bytes())
    assert outputs[0] == outputs[1]
