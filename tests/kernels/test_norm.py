"""Batch normalisation and pooling by the compiled kernels, against PyTorch's in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fashioncnn import kernels
from fashioncnn.kernels import batch_norm, batch_norm_pair, fixed_norm, pool_relu
from fashioncnn.models.layers import BatchNorm

ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 5e-3}
"""Largest relative difference in the Euclidean norm that rounding explains."""


@pytest.fixture
def native(compiled):
    reason = kernels.why_not_native()
    if reason:
        pytest.skip(f"no compiled kernels here: {reason}")
    kernels.use("native")


def draw(*size, dtype=torch.float32, seed=1):
    drawn = torch.randn(size, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return drawn.contiguous(memory_format=torch.channels_last) if len(size) == 4 else drawn


def is_ours(values):
    return type(values.grad_fn).__name__ in ("_NormalizationBackward", "_PoolingBackward")


def assert_near(ours, exact, tolerance):
    difference = (ours.double() - exact.double()).norm() / exact.double().norm()
    assert difference < tolerance, f"relative difference {difference:.1e}"


def norm_in_float64(values, residual, weight, bias, relu):
    normed = F.batch_norm(values, None, None, weight, bias, True, 0.1, 1e-5)
    normed = normed if residual is None else normed + residual
    return F.relu(normed) if relu else normed


SHAPES = {
    "16 channels": (6, 16, 28, 28),
    "64 channels": (6, 64, 14, 14),
    "96 channels, odd sides": (5, 96, 7, 7),
    "vectors in groups of 4, 2 and 1": (3, 112, 5, 3),
    "one image": (1, 32, 9, 7),
    "one row": (2, 16, 1, 1),
    "fewer rows than threads": (1, 16, 1, 2),
}


def of_every_kind(test):
    """Run a test for every shape, with and without what follows, in both types, by threads."""
    for name, values, ids in (
        ("shape", SHAPES.values(), SHAPES),
        ("added", [False, True], ["", "residual"]),
        ("relu", [False, True], ["", "relu"]),
        ("dtype", ROUNDING, str),
        ("threads", [1, 2, 3], None),
    ):
        test = pytest.mark.parametrize(name, values, ids=ids)(test)
    return test


@of_every_kind
def test_norm_is_pytorchs(native, shape, added, relu, dtype, threads):
    torch.set_num_threads(threads)
    channels = shape[1]
    inputs = [draw(*shape, dtype=dtype).requires_grad_()]
    inputs += [draw(channels, seed=s).requires_grad_() for s in (2, 3)]
    inputs += [draw(*shape, dtype=dtype, seed=4).requires_grad_()] if added else []
    exact = [t.detach().double().requires_grad_() for t in inputs]
    running = torch.full((channels,), 0.5), torch.full((channels,), 2.0)

    x, weight, bias, *residual = inputs
    values = batch_norm(x, *(residual or [None]), weight, bias, *running, 0.1, 1e-5, relu)
    assert is_ours(values), "the compiled kernels were not used"
    assert values.dtype == dtype
    assert values.is_contiguous(memory_format=torch.channels_last)
    x, weight, bias, *residual = exact
    expected = norm_in_float64(x, *(residual or [None]), weight, bias, relu)
    gradient = draw(*shape, dtype=dtype, seed=5)
    ours = torch.autograd.grad(values, inputs, gradient)
    if relu:  # where rounding alone decides, let it
        gradient = gradient.double() * ((values > 0) == (expected > 0))
    theirs = torch.autograd.grad(expected, exact, gradient.double())
    assert_near(values, expected, ROUNDING[dtype])
    # Of two values a channel the gradient is next to nothing, the difference of what is not.
    least = float(gradient.norm()) if values.numel() == 2 * channels else 0
    for mine, exactly in zip(ours, theirs, strict=True):
        assert mine.dtype == (dtype if mine.dim() == 4 else torch.float32)
        difference = (mine.double() - exactly).norm()
        assert difference < ROUNDING[dtype] * max(float(exactly.norm()), least)

    for mine, start, of_values in zip(
        running, (0.5, 2.0), (x.mean((0, 2, 3)), x.var((0, 2, 3))), strict=True
    ):
        assert_near(mine, 0.9 * start + 0.1 * of_values, 1e-6)


@of_every_kind
def test_by_given_statistics_it_is_pytorchs(native, shape, added, relu, dtype, threads):
    torch.set_num_threads(threads)
    values, residual = (draw(*shape, dtype=dtype, seed=seed) for seed in (1, 4))
    of_channels = [draw(shape[1], seed=seed) for seed in (2, 3, 5)]
    of_channels.append(draw(shape[1], seed=6).square() + 0.1)
    before = [t.clone() for t in of_channels]
    arguments = [values, residual if added else None, *of_channels]
    with torch.no_grad():
        ours = fixed_norm(*arguments, 1e-5, relu)
    weight, bias, mean, variance = (t.double() for t in of_channels)
    expected = F.batch_norm(values.double(), mean, variance, weight, bias, False, 0.1, 1e-5)
    expected = expected + residual.double() if added else expected
    assert_near(ours, F.relu(expected) if relu else expected, ROUNDING[dtype])
    assert ours.dtype == dtype
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(a, b) for a, b in zip(of_channels, before, strict=True))


def test_by_given_statistics_a_image_gives_the_same_bytes_in_any_company(native):
    x, of_channels = draw(9, 32, 7, 7), [draw(32, seed=seed).abs() + 0.1 for seed in (2, 3, 4, 5)]
    with torch.no_grad():
        whole = fixed_norm(x, x, *of_channels, 1e-5, True)
        assert torch.equal(fixed_norm(x[3:4], x[3:4], *of_channels, 1e-5, True), whole[3:4])


def test_where_gradients_may_be_asked_for_given_statistics_are_pytorchs(native):
    x = draw(3, 32, 6, 6).requires_grad_()
    ones = [torch.ones(32)] * 4
    fixed_norm(x, None, *ones, 1e-5, True).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("relu", [False, True], ids=["", "relu"])
@pytest.mark.parametrize("added", [False, True], ids=["", "residual"])
def test_gradients_of_two_ways_are_added(native, added, relu, dtype):
    inputs = [draw(4, 48, 7, 7, dtype=dtype).requires_grad_()]
    inputs += [draw(48, seed=s).requires_grad_() for s in (2, 3)]
    inputs += [draw(4, 48, 7, 7, dtype=dtype, seed=4).requires_grad_()] if added else []
    x, weight, bias, *residual = inputs
    of_channels = weight, bias, torch.zeros(48), torch.ones(48)
    both = batch_norm_pair(x, *(residual or [None]), *of_channels, 0.1, 1e-5, relu)
    assert torch.equal(*both)
    assert all(map(is_ours, both))
    # Whole eighths, so that the sum of two is exact in bfloat16.
    gradients = [(draw(*x.shape, seed=s) * 8).round().div(8).to(dtype) for s in (5, 6)]

    def grad(outputs, of_outputs):
        return torch.autograd.grad(outputs, inputs, of_outputs, retain_graph=True)

    together = grad(both, gradients)
    for mine, expected in zip(together, grad(both[0], sum(gradients)), strict=True):
        assert_near(mine, expected, 1e-6)
    for mine, expected in zip(
        grad(both[1], gradients[1]), grad(both[0], gradients[1]), strict=True
    ):
        assert torch.equal(mine, expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_large_mean_costs_no_digits(native, threads):
    torch.set_num_threads(threads)
    x = draw(8, 32, 14, 14) * 1e-2 + 300
    x[0, :, 0, 0] = 301  # what the first row is, the others are not
    weight, bias, running = torch.ones(32), torch.zeros(32), (torch.zeros(32), torch.zeros(32))
    values = batch_norm(x, None, weight, bias, *running, 1.0, 1e-5, False)
    expected = norm_in_float64(x.double(), None, weight.double(), bias.double(), False)
    assert_near(values, expected, 3e-3)  # a step of float32 is 3e-5 here, 3e-3 deviations
    assert_near(running[0], x.double().mean((0, 2, 3)), 1e-7)
    assert_near(running[1], x.double().var((0, 2, 3)), 1e-4)


def test_plain_channels_stay_finite(native):
    x = torch.full((4, 16, 6, 6), 3.0).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    running = torch.zeros(16), torch.ones(16)
    values = batch_norm(x, None, torch.ones(16), torch.ones(16), *running, 0.1, 1e-5, False)
    assert torch.equal(values, torch.ones_like(values))
    assert torch.equal(running[1], torch.full((16,), 0.9))
    assert torch.autograd.grad(values.sum(), x)[0].abs().max() < 1e-3


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_not_a_number_spoils_its_channel_alone(native, dtype):
    x = draw(3, 32, 6, 6, dtype=dtype)
    x[1, 5, 2, 3] = float("nan")
    of_channels = torch.ones(32), torch.zeros(32), torch.zeros(32), torch.ones(32)
    values = batch_norm(x, None, *of_channels, 0.1, 1e-5, True)
    spoilt = values.isnan()
    assert spoilt[:, 5].all()
    assert spoilt.sum() == spoilt[:, 5].numel()
    assert of_channels[2].isnan().nonzero().tolist() == [[5]]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_same_threads_same_bytes(native, dtype, threads):
    torch.set_num_threads(threads)
    inputs = [draw(16, 64, 14, 14, dtype=dtype, seed=s).requires_grad_() for s in (1, 2)]
    inputs += [draw(64, seed=s).requires_grad_() for s in (3, 4)]
    x, residual, weight, bias = inputs

    def answers():
        running = torch.zeros(64), torch.ones(64)
        values = batch_norm(x, residual, weight, bias, *running, 0.1, 1e-5, True)
        pooled = pool_relu(x)
        return values, *running, *torch.autograd.grad(values.sum() + pooled.sum(), inputs)

    first = answers()
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(first, answers(), strict=True))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize(
    "sides", [(28, 28), (14, 14), (7, 7), (5, 6), (6, 5), (2, 2), (3, 2)], ids=str
)
def test_pooling_is_pytorchs_to_the_bit(native, sides, dtype, threads):
    torch.set_num_threads(threads)
    x = draw(3, 48, *sides, dtype=dtype).requires_grad_()
    x.data[:, :, 0, 0] = x.data[:, :, 0, 1]  # of equal values the first one counts
    answers = []
    for function in (pool_relu, lambda x: F.relu(F.max_pool2d(x, 2))):
        pooled = function(x)
        gradient = draw(*pooled.shape, dtype=dtype, seed=2)
        answers.append((pooled, *torch.autograd.grad(pooled, x, gradient)))
    assert is_ours(answers[0][0]), "the compiled kernels were not used"
    for ours, theirs in zip(*answers, strict=True):
        assert torch.equal(ours, theirs)
        assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_a_bias_is_added_to_what_is_kept(native, dtype, threads):
    torch.set_num_threads(threads)
    x, bias = draw(3, 48, 7, 6, dtype=dtype).requires_grad_(), draw(48, seed=2).requires_grad_()
    pooled = pool_relu(x, bias)
    assert is_ours(pooled)
    exact = [t.detach().double().requires_grad_() for t in (x, bias)]
    expected = F.relu(F.max_pool2d(exact[0] + exact[1].view(-1, 1, 1), 2))
    gradient = draw(*pooled.shape, dtype=dtype, seed=3)
    ours = torch.autograd.grad(pooled, [x, bias], gradient)
    theirs = torch.autograd.grad(expected, exact, gradient.double())
    for mine, exactly in zip((pooled, *ours), (expected, *theirs), strict=True):
        assert_near(mine, exactly, ROUNDING[dtype])


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_pooling_passes_not_a_number_on(native, dtype):
    for place in range(4):
        x = draw(1, 16, 4, 4, dtype=dtype)
        x[0, 3, place // 2, place % 2] = float("nan")
        x.requires_grad_()
        pooled, expected = pool_relu(x), F.relu(F.max_pool2d(x, 2))
        assert torch.equal(pooled.isnan(), expected.isnan())
        ours, theirs = (torch.autograd.grad(y.sum(), x)[0] for y in (pooled, expected))
        assert torch.equal(ours, theirs)


def test_gradients_in_any_memory(native):
    """The mean over an image gives one that takes no memory of its own."""
    x = draw(4, 32, 7, 7).requires_grad_()
    gradients = []
    for name in ("native", "torch"):
        kernels.use(name)
        running = torch.zeros(32), torch.ones(32)
        values = batch_norm(x, None, torch.ones(32), torch.zeros(32), *running, 0.1, 1e-5, True)
        gradients.append(torch.autograd.grad(values.mean((2, 3)).pow(2).sum(), x)[0])
    assert_near(*gradients, 1e-5)


def test_saved_values_may_be_laid_out_anew(native):
    x, residual = (draw(4, 32, 7, 7, seed=s).requires_grad_() for s in (1, 2))
    of_channels = torch.ones(32), torch.zeros(32), torch.zeros(32), torch.ones(32)

    def gradients():
        values = batch_norm(x, residual, *of_channels, 0.1, 1e-5, True)
        return torch.autograd.grad(pool_relu(values).sum(), [x, residual])

    expected = gradients()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.contiguous().clone(), lambda t: t):
        laid_out_anew = gradients()
    assert all(torch.equal(a, b) for a, b in zip(expected, laid_out_anew, strict=True))


NOT_OURS = {
    "double precision": lambda: draw(2, 32, 6, 6).double(),
    "odd channels": lambda: draw(2, 3, 6, 6),
    "another order in memory": lambda: draw(2, 32, 6, 6).contiguous(),
    "a view with gaps": lambda: draw(2, 64, 6, 6)[:, ::2],
    "no images": lambda: draw(0, 32, 6, 6),
}


@pytest.mark.parametrize("make", NOT_OURS.values(), ids=NOT_OURS)
def test_what_the_kernels_cannot_do_pytorch_does(native, make):
    x = make().requires_grad_()
    channels = x.shape[1]
    kind = x.dtype

    def norm():
        of_channels = (torch.full((channels,), value, dtype=kind) for value in (1.5, 0.5, 0.0, 1.0))
        return batch_norm(x, x.detach(), *of_channels, 0.1, 1e-5, True)

    if len(x):
        assert not is_ours(norm())
    assert not is_ours(pool_relu(x))
    ours = norm(), pool_relu(x)
    kernels.use("torch")
    assert all(torch.equal(a, b) for a, b in zip(ours, (norm(), pool_relu(x)), strict=True))


def test_one_value_a_channel_is_refused(native):
    of_channels = torch.ones(16), torch.zeros(16), torch.zeros(16), torch.ones(16)
    with pytest.raises(ValueError, match="more than 1 value"):
        batch_norm(draw(1, 16, 1, 1), None, *of_channels, 0.1, 1e-5, True)


def test_a_residual_of_another_kind_is_left_to_pytorch(native):
    x, of_channels = (
        draw(2, 16, 6, 6, dtype=torch.bfloat16).requires_grad_(),
        (torch.ones(16), torch.zeros(16), torch.zeros(16), torch.ones(16)),
    )
    for residual in (draw(2, 16, 6, 6), draw(2, 16, 6, 6, dtype=torch.bfloat16).contiguous()):
        assert not is_ours(batch_norm(x, residual, *of_channels, 0.1, 1e-5, True))


@pytest.mark.parametrize("name", ["native", "torch"])
def test_the_layer_is_a_batch_norm(native, name):
    """The same state, by the same keys, after the same steps; with gradients evaluation is its."""
    kernels.use(name)
    ours, theirs = BatchNorm(32), nn.BatchNorm2d(32)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    for step in range(3):
        x = draw(4, 32, 6, 6, seed=step)
        assert_near(ours(x, x, relu=True), F.relu(theirs(x) + x), 1e-6)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-5, atol=1e-6)
    theirs.load_state_dict(ours.state_dict())
    evaluated = [layer.eval()(x) for layer in (ours, theirs)]
    assert torch.equal(*evaluated)
    assert torch.equal(ours(x, x, relu=True), F.relu(evaluated[1] + x))
    with torch.no_grad():
        assert_near(ours(x), evaluated[1], 1e-6)
        assert_near(ours(x, x, relu=True), F.relu(evaluated[1] + x), 1e-6)


@pytest.mark.parametrize(
    "options", [{"affine": False}, {"momentum": None}, {"track_running_stats": False}], ids=str
)
def test_layers_of_other_kinds_are_pytorchs(native, options):
    ours, theirs = BatchNorm(32, **options), nn.BatchNorm2d(32, **options)
    x = draw(4, 32, 6, 6)
    for _ in range(2):
        assert torch.equal(ours(x), theirs(x))
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)


def test_under_autocast_the_layer_keeps_bfloat16(native):
    layer, convolution = BatchNorm(32), nn.Conv2d(16, 32, 3, padding=1)
    x = draw(4, 16, 6, 6)
    convolution.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        values = layer(convolution(x), relu=True)
    assert is_ours(values)
    assert values.dtype == torch.bfloat16
