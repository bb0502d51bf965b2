import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from fashioncnn.kernels import conv2d, conv_pool_relu
from fashioncnn.kernels.convolution import native_convolution

from .reference import NegativeGradient, assert_equals_float64, draw, is_native


def torch_conv_pool_relu(images, weight, bias, padding):
    return F.relu(F.max_pool2d(F.conv2d(images, weight, bias, padding=padding), 2))


def draw_arguments(n=2, in_channels=32, height=8, width=8, out_channels=32):
    images = draw(n, in_channels, height, width)
    return images, draw(out_channels, in_channels, 3, 3, seed=2), draw(out_channels, seed=3)


SHAPES = {
    "first layer": (5, 1, 28, 28, 32, 1),
    "second layer": (5, 32, 14, 14, 64, 1),
    "odd sides": (3, 32, 9, 7, 32, 1),
    "no padding": (3, 32, 8, 6, 64, 0),
    "first layer, odd sides, no padding": (2, 1, 13, 11, 32, 0),
    "even number of windows down, odd across": (2, 32, 8, 10, 32, 1),
    "padding of 2": (2, 32, 6, 6, 32, 2),
    "one window": (1, 32, 4, 4, 32, 0),
    "fewer images than threads": (1, 1, 28, 28, 32, 1),
    "several blocks of tiles and a partial one": (7, 64, 14, 14, 96, 1),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_conv_pool_relu_equals_float64(native, shape):
    *sizes, padding = shape
    images, *parameters = draw_arguments(*sizes)
    assert_equals_float64(
        lambda x, w, b: conv_pool_relu(native, x, w, b, padding),
        lambda x, w, b: torch_conv_pool_relu(x, w, b, padding),
        [images.requires_grad_(sizes[1] > 1), *(p.requires_grad_() for p in parameters)],
    )


@pytest.mark.parametrize(
    ("sides", "padding"),
    [
        *(((28, 28), p) for p in (0, 1)),
        *(((14, 14), p) for p in (0, 1)),
        *((sides, p) for sides in ((7, 7), (5, 6), (9, 3)) for p in (0, 1, 2)),
        *(((1, 1), p) for p in (1, 2)),
    ],
    ids=str,
)
def test_conv2d_equals_float64(native, sides, padding):
    images, weight, _ = draw_arguments(3, 32, *sides, 32)
    assert_equals_float64(
        lambda x, w: conv2d(native, x, w, padding),
        lambda x, w: F.conv2d(x, w, padding=padding),
        [images.requires_grad_(), weight.requires_grad_()],
    )


@pytest.mark.parametrize(("n", "side"), [(1, 14), (2, 14), (3, 14), (8, 7), (9, 7), (1, 28)])
def test_few_positions_without_gradients_are_convolved_by_pytorch(native, n, side):
    images, weight, bias = draw_arguments(n, 32, side, side)
    with torch.inference_mode():
        convolved = conv2d(native, images, weight, 1)
        pooled = conv_pool_relu(native, images, weight, bias, 1)
        if n * side * side < 400:
            expected = F.conv2d(images, weight, padding=1)
            expected_pooled = torch_conv_pool_relu(images, weight, bias, 1)
        else:
            expected = native_convolution(native, images, weight, None, 1)
            expected_pooled = native_convolution(native, images, weight, bias, 1)
    assert torch.equal(convolved, expected)
    assert torch.equal(pooled, expected_pooled)


def test_few_positions_of_one_channel_or_with_gradients_are_convolved_by_the_kernels(native):
    images, weight, bias = draw_arguments(1, 32, 7, 7)
    expected = native_convolution(native, images, weight, None, 1)
    assert torch.equal(conv2d(native, images, weight, 1), expected)
    images, weight, bias = draw_arguments(1, 1, 8, 8)
    with torch.inference_mode():
        expected = native_convolution(native, images, weight, bias, 1)
        assert torch.equal(conv_pool_relu(native, images, weight, bias, 1), expected)


def test_gradient_of_expanded_weight_is_summed(native):
    images, weight = draw_arguments()[0], draw(1, 32, 3, 3, seed=2).requires_grad_()
    gradients = [
        torch.autograd.grad(function(images, weight.expand(32, 32, 3, 3)).sum(), weight)[0]
        for function in (
            lambda x, w: conv2d(native, x, w, 1),
            lambda x, w: F.conv2d(x, w, padding=1),
        )
    ]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def test_hooks_may_change_the_layout_of_saved_tensors(native):
    images, weight, bias = draw_arguments()
    images, weight = images.requires_grad_(), weight.requires_grad_()
    expected = torch.autograd.grad(conv_pool_relu(native, images, weight, bias, 1).sum(), weight)[0]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.contiguous().clone(), lambda t: t):
        values = conv_pool_relu(native, images, weight, bias, 1)
    assert torch.equal(torch.autograd.grad(values.sum(), weight)[0], expected)


def test_tensors_without_readable_memory_use_pytorch(native):
    with FakeTensorMode():
        values = conv2d(native, torch.randn(2, 32, 8, 8), torch.randn(32, 32, 3, 3), 1)
    assert values.shape == (2, 32, 8, 8)
    images, weight, _ = draw_arguments()
    negative = torch._neg_view(images)
    assert torch.equal(conv2d(native, negative, weight, 1), F.conv2d(-images, weight, padding=1))


def test_one_of_equal_values_receives_the_gradient(native):
    images = torch.ones(1, 32, 8, 8, requires_grad=True)
    weight, bias = torch.ones(32, 32, 3, 3, requires_grad=True), torch.zeros(32)
    results = []
    for values in (
        conv_pool_relu(native, images, weight, bias, 0),
        torch_conv_pool_relu(images, weight, bias, 0),
    ):
        image_gradient, weight_gradient = torch.autograd.grad(values.sum(), [images, weight])
        results.append((image_gradient.sum(), weight_gradient))
    torch.testing.assert_close(*results)


def test_gradient_is_zero_where_relu_is_inactive(native):
    images, weight, _ = draw_arguments()
    images.requires_grad_()
    values = conv_pool_relu(native, images, weight, torch.full((32,), -1e6), 1)
    assert not values.any()
    assert not torch.autograd.grad(values.sum(), images)[0].any()


@pytest.mark.parametrize("in_channels", [1, 32])
@pytest.mark.parametrize("position", [(0, 0), (3, 3), (5, 2)])
def test_nan_propagates_wherever_it_does_in_pytorch(native, in_channels, position):
    """Winograd's sums may carry it to further values of the same tile."""
    images, weight, bias = draw_arguments(1, in_channels)
    images[0, 0, *position] = float("nan")
    expected = torch_conv_pool_relu(images, weight, bias, 1).isnan()
    assert conv_pool_relu(native, images, weight, bias, 1).isnan()[expected].all()


def test_memory_layout_of_arguments_does_not_change_values(native):
    images, weight, bias = draw_arguments(3)
    contiguous = conv_pool_relu(native, images.contiguous(), weight.contiguous(), bias, 1)
    assert torch.equal(contiguous, conv_pool_relu(native, images, weight, bias, 1))


def test_values_of_an_image_do_not_depend_on_its_batch(native):
    images, weight, bias = draw_arguments(9, 32, 14, 14, 64)
    together = conv_pool_relu(native, images, weight, bias, 1)
    alone = torch.cat([conv_pool_relu(native, image[None], weight, bias, 1) for image in images])
    assert torch.equal(together, alone)


def test_same_number_of_threads_gives_the_same_bytes(native):
    images, weight, bias = draw_arguments(16, 32, 14, 14, 64)
    weight.requires_grad_()
    torch.set_num_threads(2)

    def gradient():
        values = conv_pool_relu(native, images, weight, bias, 1)
        return torch.autograd.grad(values.sum(), weight)[0]

    first = gradient()
    assert all(torch.equal(first, gradient()) for _ in range(3))


def test_bias_may_be_strided_or_expanded(native):
    images, weight, _ = draw_arguments()
    bias = draw(64)[::2]
    for values in (bias, bias[:1].expand(32)):
        torch.testing.assert_close(
            conv_pool_relu(native, images, weight, values, 1),
            torch_conv_pool_relu(images, weight, values, 1),
            rtol=1e-4,
            atol=1e-4,
        )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_default_dtype_and_device_do_not_matter(native, dtype):
    images, weight, bias = draw_arguments()
    expected = conv_pool_relu(native, images, weight.requires_grad_(), bias, 1)
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            values = conv_pool_relu(native, images, weight, bias, 1)
            values.sum().backward()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(values, expected)


def test_frozen_weight_passes_the_gradient_to_the_images(native):
    images, weight, bias = draw_arguments()
    images.requires_grad_()
    gradients = [
        torch.autograd.grad(values.sum(), images)[0]
        for values in (
            conv_pool_relu(native, images, weight, bias, 1),
            torch_conv_pool_relu(images, weight, bias, 1),
        )
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


INVALID = {
    "channels": lambda: (torch.rand(2, 3, 8, 8), torch.rand(32, 1, 3, 3), torch.rand(32), 1),
    "length of the bias": lambda: (*draw_arguments()[:2], torch.rand(16), 1),
    "padding": lambda: (*draw_arguments(), -1),
    "empty output": lambda: (*draw_arguments(height=2, width=2), 0),
    "dtypes": lambda: (draw_arguments()[0].double(), *draw_arguments()[1:], 1),
}


@pytest.mark.parametrize("make", INVALID.values(), ids=INVALID)
def test_invalid_arguments_raise_pytorchs_error(native, make):
    arguments = make()
    with pytest.raises(RuntimeError) as expected:
        torch_conv_pool_relu(*arguments)
    with pytest.raises(RuntimeError) as actual:
        conv_pool_relu(native, *arguments)
    assert str(actual.value) == str(expected.value)


UNSUPPORTED = {
    "double precision": lambda: [t.double() for t in draw_arguments()],
    "input channels": lambda: draw_arguments(in_channels=3),
    "output channels": lambda: draw_arguments(out_channels=4),
    "5×5": lambda: (torch.rand(2, 1, 8, 8), torch.rand(32, 1, 5, 5), torch.rand(32)),
    "no images": lambda: draw_arguments(0),
    "gradient of one input channel": lambda: (
        draw(2, 1, 8, 8).requires_grad_(),
        *draw_arguments(in_channels=1)[1:],
    ),
}


@pytest.mark.parametrize("make", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_arguments_use_pytorch(native, make):
    images, weight, bias = make()
    actual = conv_pool_relu(native, images, weight, bias, 2)
    assert torch.equal(actual, torch_conv_pool_relu(images, weight, bias, 2))


def test_mixed_kernels_convolve_with_pytorch_under_bf16_autocast(native):
    images, weight, bias = (t.requires_grad_() for t in draw_arguments())
    with torch.autocast("cpu", torch.bfloat16):
        alone, pooled = (
            conv2d(native, images, weight, 1, bf16=False),
            conv_pool_relu(native, images, weight, bias, 1, bf16=False),
        )
        assert torch.equal(alone, F.conv2d(images, weight, padding=1))
        expected = torch_conv_pool_relu(images, weight, bias, 1)  # rounds before adding the bias
    torch.testing.assert_close(pooled, expected, rtol=1e-2, atol=0.1)
    assert alone.dtype == pooled.dtype == torch.bfloat16
    assert is_native(pooled)
    assert not is_native(alone)
    assert is_native(conv2d(native, images, weight, 1, bf16=False))


@pytest.mark.parametrize("pooled", [False, True])
def test_gradient_may_be_a_negated_view(native, pooled):
    images, weight, bias = (t.requires_grad_() for t in draw_arguments())

    def gradients(passed_on):
        if pooled:
            values = conv_pool_relu(native, images, weight, bias, 1)
        else:
            values = conv2d(native, images, weight, 1)
        return torch.autograd.grad(passed_on(values).square().sum(), [images, weight])

    pairs = zip(gradients(NegativeGradient.apply), gradients(torch.clone), strict=True)
    assert all(torch.equal(actual, expected) for actual, expected in pairs)
