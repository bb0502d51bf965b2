import pytest
import torch

from fashioncnn.kernels import unavailable_reason
from fashioncnn.models import build_model, set_kernels
from fashioncnn.models.layers import Dropout, FlattenLinear
from fashioncnn.settings import BatchNormCNNConfig, FashionCNNConfig, ResidualCNNConfig

CONFIGS = {
    "fashion_cnn": FashionCNNConfig(channels=(32, 32), hidden=16),
    "batchnorm_cnn": BatchNormCNNConfig(name="batchnorm_cnn", channels=(32, 32)),
    "residual_cnn": ResidualCNNConfig(
        name="residual_cnn", channels=(32, 64), blocks=(1, 1), flip_equivariant=True
    ),
}


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75, 0.9999])
def test_dropout_drops_the_fraction_p_and_keeps_the_mean(p):
    torch.manual_seed(0)
    values = Dropout(p)(torch.ones(1000, 1003))
    dropped = (values == 0).float().mean().item()
    assert dropped == pytest.approx(p, abs=0.002)
    kept = values[values > 0].unique()
    exact = round(p * 2**16) / 2**16
    torch.testing.assert_close(kept, torch.tensor([1 / (1 - exact)]))


def test_dropout_near_one_keeps_the_mean():
    torch.manual_seed(0)
    assert Dropout(0.999999)(torch.ones(1000, 1000)).mean() == pytest.approx(1, abs=0.5)


def test_dropout_draws_neighboring_values_independently():
    """One random integer serves four values."""
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(4, 100_000)) > 0).float()
    for shift in (1, 2, 3, 4):
        equal = (kept == kept.roll(shift, 1)).float().mean().item()
        assert equal == pytest.approx(0.5, abs=0.005), f"values {shift} apart"


def test_dropout_depends_on_the_seed_only():
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(Dropout(0.5)(torch.ones(7, 5)))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_dropout_scales_the_gradient_of_kept_values():
    values = torch.ones(10, 10, requires_grad=True)
    dropped = Dropout(0.5)(values)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())


def test_dropout_returns_its_input_in_evaluation_and_for_p_of_zero():
    values = torch.rand(3, 4)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(3, 64, 7, 7), (2, 5, 1, 3), (4, 16, 3, 2)])
def test_flatten_linear_equals_linear_of_flattened_features(shape, layout):
    torch.manual_seed(0)
    layer = FlattenLinear(*shape[1:], 10).to(memory_format=layout)
    plain = torch.nn.Linear(layer.weight[0].numel(), 10)
    plain.load_state_dict(layer.state_dict())
    images = torch.rand(shape).to(memory_format=layout).requires_grad_()
    gradient = torch.rand(len(images), 10)
    results = []
    for network, values in ((layer, images), (plain, images.flatten(1))):
        outputs = network(values)
        inputs = [images, network.weight, network.bias]
        d_images, d_weight, d_bias = torch.autograd.grad(outputs, inputs, gradient)
        results.append((outputs, d_images, d_weight.flatten(1), d_bias))
    torch.testing.assert_close(*results)


def test_flatten_linear_rejects_a_weight_of_another_shape():
    layer = FlattenLinear(3, 2, 4, 5)
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        layer.load_state_dict({"weight": torch.zeros(24, 5), "bias": torch.zeros(5)})


def test_flatten_linear_has_the_state_dict_of_linear():
    layer = FlattenLinear(3, 2, 2, 5).to(memory_format=torch.channels_last)
    saved = layer.state_dict()
    assert saved["weight"].shape == (5, 12)
    twin = FlattenLinear(3, 2, 2, 5).to(memory_format=torch.channels_last)
    twin.load_state_dict(torch.nn.Sequential(torch.nn.Flatten(), layer)[1].state_dict())
    assert torch.equal(twin.weight, layer.weight)
    assert twin.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kernels", ["torch", "native"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_torch_compile_needs_no_graph_break(compiled, kernels, config):
    if kernels == "native" and unavailable_reason():
        pytest.skip("no compiled kernels on this machine")
    torch.manual_seed(0)
    network, images = build_model(config, 28, 10), torch.rand(4, 1, 28, 28)
    set_kernels(network, kernels)
    graph = torch.compile(network, backend="eager", fullgraph=True)
    graph(images).sum().backward()
    with torch.no_grad():
        expected = network.eval()(images)
        torch.testing.assert_close(graph(images), expected, rtol=1e-4, atol=1e-4)
    torch.compiler.reset()
