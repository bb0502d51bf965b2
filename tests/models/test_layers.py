import pytest
import torch
import torch.nn.functional as F

from fashioncnn.kernels import unavailable_reason
from fashioncnn.models import build_model, set_kernels
from fashioncnn.models.layers import BatchNorm, Dropout, FlattenLinear
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


def test_flatten_linear_reports_a_missing_weight():
    with pytest.raises(RuntimeError, match=r"Missing key.*weight"):
        FlattenLinear(3, 2, 2, 5).load_state_dict({"bias": torch.zeros(5)})


def make_batch_norm(kernels):
    if kernels == "native" and unavailable_reason():
        pytest.skip("no compiled kernels on this machine")
    layer = BatchNorm(32)
    set_kernels(layer, kernels)
    return layer


def draw_features(channels, seed=0):
    features = torch.randn(4, channels, 6, 6, generator=torch.Generator().manual_seed(seed))
    return features.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kernels", ["torch", "native"])
def test_batch_norm_is_a_batchnorm2d_with_residual_and_relu(compiled, kernels):
    ours, reference = make_batch_norm(kernels), torch.nn.BatchNorm2d(32)
    for seed in range(3):
        x = draw_features(32, seed)
        expected = F.relu(reference(x) + x)
        torch.testing.assert_close(ours(x, x, relu=True), expected, rtol=1e-5, atol=1e-5)
    assert list(ours.state_dict()) == list(reference.state_dict())
    for key, value in reference.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-5, atol=1e-6)
    reference.load_state_dict(ours.state_dict())
    expected = reference.eval()(x)
    assert torch.equal(ours.eval()(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            ours(x, x, relu=True), F.relu(expected + x), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("kernels", ["torch", "native"])
def test_batch_norm_without_momentum_averages_all_batches(compiled, kernels):
    ours, reference = make_batch_norm(kernels), torch.nn.BatchNorm2d(32, momentum=None)
    ours.momentum = None
    for seed in range(2):
        x = draw_features(32, seed)
        assert torch.equal(ours(x, x, relu=True), F.relu(reference(x) + x))
    for key, value in reference.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)


def test_batch_norm_keeps_bfloat16_under_autocast(compiled):
    layer, convolution = make_batch_norm("native"), torch.nn.Conv2d(16, 32, 3, padding=1)
    convolution.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        values = layer(convolution(draw_features(16)), relu=True)
    assert values.dtype == torch.bfloat16
    assert type(values.grad_fn).__name__ == "_BatchNormBackward"


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


@pytest.mark.parametrize("options", [{"track_running_stats": False}, {"affine": False}], ids=str)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kernels", ["torch", "native"])
def test_batch_norm_has_the_options_of_pytorchs(kernels, training, options, compiled):
    if kernels == "native" and unavailable_reason():
        pytest.skip("no compiled kernels on this machine")
    torch.manual_seed(0)
    values = torch.randn(3, 16, 5, 4).contiguous(memory_format=torch.channels_last)
    layer, expected = BatchNorm(16, **options), torch.nn.BatchNorm2d(16, **options)
    set_kernels(layer, kernels)
    outputs = [one.train(training)(values) for one in (layer, expected)]
    torch.testing.assert_close(*outputs)
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], tensor)
