import pytest
import torch
import torch.nn.functional as F

from fashioncnn.kernels import pool_relu

from .reference import (
    ROUNDING,
    THREADS,
    UNSUPPORTED,
    NegativeGradient,
    assert_equals_float64,
    draw,
    is_native,
)

SIDES = [(28, 28), (14, 14), (7, 7), (5, 6), (6, 5), (2, 2), (3, 2)]
DTYPES = pytest.mark.parametrize("dtype", ROUNDING, ids=str)


@DTYPES
@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_pool_relu_equals_pytorch_exactly(native, sides, dtype):
    values = draw(3, 48, *sides, dtype=dtype)
    values[:, :, 0, 0] = values[:, :, 0, 1]  # the first of equal values is the maximum
    values.requires_grad_()
    expected = F.relu(F.max_pool2d(values, 2))
    gradient = draw(*expected.shape, dtype=dtype, seed=2)
    expected_gradient = torch.autograd.grad(expected, values, gradient)[0]
    for threads in THREADS:
        torch.set_num_threads(threads)
        actual = pool_relu(native, values)
        assert is_native(actual)
        actual_gradient = torch.autograd.grad(actual, values, gradient)[0]
        for a, b in ((actual, expected), (actual_gradient, expected_gradient)):
            assert torch.equal(a, b)
            assert a.is_contiguous(memory_format=torch.channels_last)


@DTYPES
def test_pool_relu_with_bias_equals_float64(native, dtype):
    assert_equals_float64(
        lambda x, b: pool_relu(native, x, b),
        lambda x, b: F.relu(F.max_pool2d(x + b.view(-1, 1, 1), 2)),
        [draw(3, 48, 7, 6, dtype=dtype).requires_grad_(), draw(48, seed=2).requires_grad_()],
        ROUNDING[dtype],
    )


@DTYPES
@pytest.mark.parametrize("index", range(4))
def test_nan_propagates_as_in_pytorch(native, dtype, index):
    values = draw(1, 16, 4, 4, dtype=dtype)
    values[0, 3, index // 2, index % 2] = float("nan")
    values.requires_grad_()
    actual, expected = pool_relu(native, values), F.relu(F.max_pool2d(values, 2))
    assert torch.equal(actual.isnan(), expected.isnan())
    gradients = [torch.autograd.grad(y.sum(), values)[0] for y in (actual, expected)]
    assert torch.equal(*gradients)


def test_values_are_equal_without_gradients(native):
    values = draw(2, 16, 6, 6)
    with torch.no_grad():
        assert torch.equal(pool_relu(native, values), F.relu(F.max_pool2d(values, 2)))


@pytest.mark.parametrize("make", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_values_use_pytorch(native, make):
    values = make().requires_grad_()
    actual = pool_relu(native, values)
    assert not is_native(actual)
    assert torch.equal(actual, F.relu(F.max_pool2d(values, 2)))


def test_side_of_one_pixel_raises_pytorchs_error(native):
    with pytest.raises(RuntimeError, match="Output size is too small"):
        pool_relu(native, draw(2, 16, 1, 4))


def test_gradient_may_be_a_negated_view(native):
    values = draw(2, 32, 6, 6).requires_grad_()
    actual, expected = (
        torch.autograd.grad(passed_on(pool_relu(native, values)).square().sum(), values)[0]
        for passed_on in (NegativeGradient.apply, torch.clone)
    )
    assert torch.equal(actual, expected)
