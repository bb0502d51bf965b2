import pytest
import torch
import torch.nn.functional as F

from fashioncnn.kernels import BatchNormState, batch_norm_inference, batch_norm_pair

from .reference import (
    ROUNDING,
    THREADS,
    UNSUPPORTED,
    NegativeGradient,
    assert_near,
    draw,
    is_native,
)

SHAPES = {
    "16 channels": (6, 16, 28, 28),
    "64 channels": (6, 64, 14, 14),
    "96 channels, odd sides": (5, 96, 7, 7),
    "groups of 4, 2 and 1 vectors": (3, 112, 5, 3),
    "one image": (1, 32, 9, 7),
    "one row per image": (2, 16, 1, 1),
    "fewer rows than threads": (1, 16, 1, 2),
}
DTYPES = pytest.mark.parametrize("dtype", ROUNDING, ids=str)
EVERY_KIND = [
    pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES),
    pytest.mark.parametrize("has_residual", [False, True], ids=["", "residual"]),
    pytest.mark.parametrize("relu", [False, True], ids=["", "relu"]),
    DTYPES,
]


def of_every_kind(test):
    for mark in EVERY_KIND:
        test = mark(test)
    return test


def fresh_state(channels, dtype=torch.float32):
    return BatchNormState(*(torch.full((channels,), v, dtype=dtype) for v in (1, 0, 0, 1)))


def batch_norm(kernels, values, residual=None, state=None, relu=False):
    state = state or fresh_state(values.shape[1])
    return batch_norm_pair(kernels, values, residual, state, 0.1, 1e-5, relu)[0]


def torch_batch_norm(values, residual, weight, bias, relu):
    output = F.batch_norm(values, None, None, weight, bias, True, 0.1, 1e-5)
    output = output if residual is None else output + residual
    return F.relu(output) if relu else output


def draw_inputs(shape, has_residual, dtype=torch.float32):
    """Return values, weight, bias and, if asked for, a residual; all require gradients."""
    inputs = [draw(*shape, dtype=dtype), draw(shape[1], seed=2), draw(shape[1], seed=3)]
    inputs += [draw(*shape, dtype=dtype, seed=4)] if has_residual else []
    return [t.requires_grad_() for t in inputs]


@of_every_kind
def test_training_equals_float64(native, shape, has_residual, relu, dtype):
    channels = shape[1]
    inputs = draw_inputs(shape, has_residual, dtype)
    exact = [t.detach().double().requires_grad_() for t in inputs]
    x, weight, bias, *residual = exact
    expected = torch_batch_norm(x, *(residual or [None]), weight, bias, relu)
    gradient = draw(*shape, dtype=dtype, seed=5)
    # Of two values per channel the gradient is almost zero: the difference of large numbers.
    floor = float(gradient.norm()) if x.numel() == 2 * channels else 0
    moments = x.mean((0, 2, 3)), x.var((0, 2, 3))

    x, weight, bias, *residual = inputs
    for threads in THREADS:
        torch.set_num_threads(threads)
        running = torch.full((channels,), 0.5), torch.full((channels,), 2.0)
        state = BatchNormState(weight, bias, *running)
        actual = batch_norm(native, x, *(residual or [None]), state, relu)
        assert is_native(actual), "PyTorch's operation was used"
        assert actual.dtype == dtype
        assert actual.is_contiguous(memory_format=torch.channels_last)
        assert_near(actual, expected, ROUNDING[dtype])
        for value, start, moment in zip(running, (0.5, 2.0), moments, strict=True):
            assert_near(value, 0.9 * start + 0.1 * moment, 1e-6)

        gradients = torch.autograd.grad(actual, inputs, gradient)
        mask = 1  # of ReLU; rounding may decide values near 0 differently
        if relu:
            mask = (actual > 0) == (expected > 0)
        expected_gradients = torch.autograd.grad(
            expected, exact, gradient.double() * mask, retain_graph=True
        )
        for a, b in zip(gradients, expected_gradients, strict=True):
            assert a.dtype == (dtype if a.dim() == 4 else torch.float32)
            assert (a.double() - b).norm() < ROUNDING[dtype] * max(float(b.norm()), floor)


@of_every_kind
def test_inference_equals_float64(native, shape, has_residual, relu, dtype):
    values, residual = (draw(*shape, dtype=dtype, seed=seed) for seed in (1, 4))
    weight, bias, mean = (draw(shape[1], seed=seed) for seed in (2, 3, 5))
    state = BatchNormState(weight, bias, mean, draw(shape[1], seed=6).square() + 0.1)
    before = [t.clone() for t in state]
    exact = [t.double() for t in state]
    expected = F.batch_norm(values.double(), *exact[2:], *exact[:2], False, 0.1, 1e-5)
    expected = expected + residual.double() if has_residual else expected
    expected = F.relu(expected) if relu else expected
    for threads in THREADS:
        torch.set_num_threads(threads)
        with torch.no_grad():
            actual = batch_norm_inference(
                native, values, residual if has_residual else None, state, 1e-5, relu
            )
        assert_near(actual, expected, ROUNDING[dtype])
        assert actual.dtype == dtype
        assert actual.is_contiguous(memory_format=torch.channels_last)
    assert all(torch.equal(a, b) for a, b in zip(state, before, strict=True))


def test_inference_runs_on_the_kernel(native, monkeypatch):
    calls = []
    kernel = native.batch_norm_inference
    monkeypatch.setattr(native, "batch_norm_inference", lambda *a: (calls.append(a), kernel(*a)))
    with torch.no_grad():
        batch_norm_inference(native, draw(3, 32, 6, 6), None, fresh_state(32), 1e-5, True)
    assert len(calls) == 1


def test_inference_of_an_image_does_not_depend_on_its_batch(native):
    values = draw(9, 32, 7, 7)
    state = BatchNormState(*(draw(32, seed=seed).abs() + 0.1 for seed in (2, 3, 4, 5)))
    with torch.no_grad():
        whole = batch_norm_inference(native, values, values, state, 1e-5, True)
        alone = batch_norm_inference(native, values[3:4], values[3:4], state, 1e-5, True)
    assert torch.equal(alone, whole[3:4])


def test_inference_with_gradients_uses_pytorch(native):
    values = draw(3, 32, 6, 6).requires_grad_()
    output = batch_norm_inference(native, values, None, fresh_state(32), 1e-5, True)
    output.sum().backward()
    assert values.grad is not None


@DTYPES
@pytest.mark.parametrize("relu", [False, True], ids=["", "relu"])
@pytest.mark.parametrize("has_residual", [False, True], ids=["", "residual"])
def test_gradients_of_a_pair_are_summed(native, has_residual, relu, dtype):
    shape = (4, 48, 7, 7)
    inputs = draw_inputs(shape, has_residual, dtype)
    x, weight, bias, *residual = inputs
    state = BatchNormState(weight, bias, torch.zeros(48), torch.ones(48))
    pair = batch_norm_pair(native, x, *(residual or [None]), state, 0.1, 1e-5, relu)
    assert torch.equal(*pair)
    assert pair[0].data_ptr() == pair[1].data_ptr()
    assert all(is_native(output) for output in pair)
    # Multiples of 1/8, whose sum is exact in bfloat16.
    gradients = [(draw(*shape, seed=s) * 8).round().div(8).to(dtype) for s in (5, 6)]

    def grad(outputs, output_gradients):
        return torch.autograd.grad(outputs, inputs, output_gradients, retain_graph=True)

    for a, b in zip(grad(pair, gradients), grad(pair[0], sum(gradients)), strict=True):
        assert_near(a, b, 1e-6)
    second, first = grad(pair[1], gradients[1]), grad(pair[0], gradients[1])
    assert all(torch.equal(a, b) for a, b in zip(second, first, strict=True))


@pytest.mark.parametrize("threads", [1, 2])
def test_large_mean_costs_no_precision(native, threads):
    torch.set_num_threads(threads)
    values = draw(8, 32, 14, 14) * 1e-2 + 300
    values[0, :, 0, 0] = 301  # the first row, which is subtracted, is an outlier
    state = BatchNormState(torch.ones(32), torch.zeros(32), torch.zeros(32), torch.zeros(32))
    actual = batch_norm_pair(native, values, None, state, 1.0, 1e-5, False)[0]
    exact = values.double()
    expected = F.batch_norm(exact, None, None, training=True, eps=1e-5)
    assert_near(actual, expected, 3e-3)  # float32 resolves 3e-5 at 300, 3e-3 standard deviations
    assert_near(state.mean, exact.mean((0, 2, 3)), 1e-7)
    assert_near(state.variance, exact.var((0, 2, 3)), 1e-4)


def test_constant_channels_stay_finite(native):
    values = torch.full((4, 16, 6, 6), 3.0).contiguous(memory_format=torch.channels_last)
    values.requires_grad_()
    state = BatchNormState(torch.ones(16), torch.ones(16), torch.zeros(16), torch.ones(16))
    output = batch_norm(native, values, state=state)
    assert torch.equal(output, torch.ones_like(output))
    assert torch.equal(state.variance, torch.full((16,), 0.9))
    assert torch.autograd.grad(output.sum(), values)[0].abs().max() < 1e-3


@DTYPES
def test_nan_affects_only_its_channel(native, dtype):
    values = draw(3, 32, 6, 6, dtype=dtype)
    values[1, 5, 2, 3] = float("nan")
    state = fresh_state(32)
    is_nan = batch_norm(native, values, state=state, relu=True).isnan()
    assert is_nan[:, 5].all()
    assert is_nan.sum() == is_nan[:, 5].numel()
    assert state.mean.isnan().nonzero().tolist() == [[5]]


@DTYPES
def test_same_number_of_threads_gives_the_same_bytes(native, dtype):
    torch.set_num_threads(2)
    inputs = draw_inputs((16, 64, 14, 14), True, dtype)
    values, weight, bias, residual = inputs

    def results():
        state = BatchNormState(weight, bias, torch.zeros(64), torch.ones(64))
        output = batch_norm(native, values, residual, state, relu=True)
        return output, *state[2:], *torch.autograd.grad(output.sum(), inputs)

    first = results()
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, results(), strict=True))


def test_gradient_may_be_expanded(native):
    """The mean over an image passes a gradient without memory of its own."""
    values = draw(4, 32, 7, 7).requires_grad_()
    gradients = [
        torch.autograd.grad(batch_norm(k, values, relu=True).mean((2, 3)).pow(2).sum(), values)[0]
        for k in (native, None)
    ]
    assert_near(*gradients, 1e-5)


class NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return None


def test_missing_gradient_is_passed_on(native):
    values = draw(2, 16, 6, 6).requires_grad_()
    NoGradient.apply(batch_norm(native, values)).sum().backward()
    assert values.grad is None


def test_hooks_may_change_the_layout_of_saved_tensors(native):
    values, residual = (draw(4, 32, 7, 7, seed=s).requires_grad_() for s in (1, 2))

    def gradients():
        output = batch_norm(native, values, residual, relu=True)
        return torch.autograd.grad(output.square().sum(), [values, residual])

    expected = gradients()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.contiguous().clone(), lambda t: t):
        actual = gradients()
    assert all(torch.equal(a, b) for a, b in zip(expected, actual, strict=True))


@pytest.mark.parametrize("make", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_values_use_pytorch(native, make):
    values = make().requires_grad_()

    def compute(kernels):
        state = fresh_state(values.shape[1], values.dtype)
        return batch_norm(kernels, values, values.detach(), state, relu=True)

    assert not is_native(compute(native))
    assert torch.equal(compute(native), compute(None))


def test_unsupported_residual_uses_pytorch(native):
    values = draw(2, 16, 6, 6, dtype=torch.bfloat16).requires_grad_()
    for residual in (draw(2, 16, 6, 6), values.detach().contiguous(), values.detach()[:1]):
        assert not is_native(batch_norm(native, values, residual))


def test_one_value_per_channel_raises_pytorchs_error(native):
    with pytest.raises(ValueError, match="more than 1 value"):
        batch_norm(native, draw(1, 16, 1, 1))


def test_gradient_may_be_a_negated_view(native):
    values, residual = (draw(2, 32, 6, 6, seed=s).requires_grad_() for s in (1, 2))

    def gradients(passed_on):
        output = batch_norm(native, values, residual, relu=True)
        return torch.autograd.grad(passed_on(output).square().sum(), [values, residual])

    pairs = zip(gradients(NegativeGradient.apply), gradients(torch.clone), strict=True)
    assert all(torch.equal(actual, expected) for actual, expected in pairs)
