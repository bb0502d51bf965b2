"""Convolutions with products in bfloat16; test_build.py has them for other processors, too."""

import ctypes

import pytest
import torch
import torch.nn.functional as F

from fashioncnn.errors import KernelError
from fashioncnn.kernels import conv2d, conv_pool_relu
from fashioncnn.kernels.convolution import native_convolution
from fashioncnn.kernels.library import ConvShape
from fashioncnn.kernels.tensors import NOT_COMPILED

from .reference import THREADS, assert_near, draw, is_native

WINOGRAD, ROUNDING = 1.5e-2, 3e-3
"""Largest relative differences to float64, in the Euclidean norm: where transformed values are
rounded to bfloat16, and where only the result is."""
SHAPES = {
    "first layer": (5, 1, 28, 28, 32),
    "second layer": (5, 32, 14, 14, 64),
    "odd sides": (3, 32, 9, 7, 32),
    "more images than a group": (25, 32, 14, 14, 32),
    "several blocks of tiles and a partial one": (13, 64, 15, 14, 96),
    "one window": (1, 32, 2, 2, 32),
    "fewer images than threads": (1, 1, 28, 28, 32),
}


def draw_arguments(n, in_channels, height, width, out_channels):
    """Return images that bfloat16 represents exactly, weight and bias, float32."""
    images = draw(n, in_channels, height, width).bfloat16().float()
    weight = draw(out_channels, in_channels, 3, 3, seed=2) / (9 * in_channels) ** 0.5
    return images.requires_grad_(in_channels > 1), weight.requires_grad_(), draw(out_channels)


def gradients(values, tensors, gradient):
    return torch.autograd.grad(values, [t for t in tensors if t.requires_grad], gradient)


@pytest.mark.parametrize(
    "shape",
    [s for s in SHAPES.values() if s[1] > 1],
    ids=[k for k, s in SHAPES.items() if s[1] > 1],
)
@pytest.mark.parametrize("threads", THREADS)
def test_convolution_is_near_float64(native_bf16, shape, threads):
    torch.set_num_threads(threads)
    tensors = draw_arguments(*shape)[:2]
    exact = [t.detach().double().requires_grad_() for t in tensors]
    values = native_convolution(native_bf16, *tensors, None, 1, bf16=True)
    expected = F.conv2d(*exact, padding=1)
    gradient = draw(*expected.shape, dtype=torch.bfloat16, seed=9)
    assert values.dtype == torch.bfloat16
    assert_near(values, expected, WINOGRAD)
    assert_gradients_near((values, tensors), (expected, exact), gradient, WINOGRAD)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("threads", THREADS)
def test_pooled_convolution_is_near_float64(native_bf16, shape, threads):
    """Gradients are compared where rounding does not decide which value is the maximum."""
    torch.set_num_threads(threads)
    *tensors, bias = draw_arguments(*shape)
    tensors = [*tensors, bias.requires_grad_()]
    exact = [t.detach().double().requires_grad_(t.requires_grad) for t in tensors]
    values = native_convolution(native_bf16, *tensors, 1, bf16=True)
    full = F.conv2d(*exact, padding=1)
    expected = F.relu(F.max_pool2d(full, 2))
    gradient = draw(*expected.shape, dtype=torch.bfloat16, seed=9) * is_clear(full)
    tolerance = WINOGRAD if shape[1] > 1 else ROUNDING
    assert_near(values, expected, tolerance)
    assert_gradients_near((values, tensors), (expected, exact), gradient, tolerance)


def assert_gradients_near(actual, expected, gradient, tolerance):
    """Compare the gradients of two (output, arguments), the second one in float64."""
    exact = gradients(*expected, gradient.double())
    for value, exact_value in zip(gradients(*actual, gradient), exact, strict=True):
        assert value.dtype == torch.float32
        assert_near(value, exact_value, tolerance)


def is_clear(full):
    """Return where the two largest of the values of a window and 0 differ by a tenth or more."""
    n, channels, height, width = full.shape
    windows = F.unfold(full, 2, stride=2).view(n, channels, 4, height // 2, width // 2)
    windows = torch.cat([windows, torch.zeros_like(windows[:, :, :1])], 2)
    largest = windows.topk(2, dim=2).values
    return largest[:, :, 0] - largest[:, :, 1] > 0.1


def test_gradient_of_bfloat16_images_is_bfloat16(native_bf16):
    images, weight, _ = draw_arguments(2, 32, 8, 8, 32)
    images = images.detach().bfloat16().requires_grad_()
    values = native_convolution(native_bf16, images, weight, None, 1, bf16=True)
    [gradient] = torch.autograd.grad(values.sum(), images)
    assert gradient.dtype == torch.bfloat16
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_same_number_of_threads_gives_the_same_bytes(native_bf16):
    images, weight, _ = draw_arguments(16, 32, 14, 14, 64)
    torch.set_num_threads(2)

    def results():
        values = native_convolution(native_bf16, images, weight, None, 1, bf16=True)
        return values, *torch.autograd.grad(values.float().square().sum(), [images, weight])

    first = results()
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, results(), strict=True))


def test_values_of_an_image_do_not_depend_on_its_batch(native_bf16):
    images, weight, bias = (t.detach() for t in draw_arguments(9, 32, 14, 14, 64))
    together = native_convolution(native_bf16, images, weight, bias, 1, bf16=True)
    alone = [
        native_convolution(native_bf16, image[None], weight, bias, 1, bf16=True) for image in images
    ]
    assert torch.equal(together, torch.cat(alone))


def test_nan_of_one_batch_does_not_remain_in_scratch_memory(native_bf16):
    images, weight, _ = draw_arguments(3, 32, 6, 6, 32)
    damaged = torch.full_like(images, float("nan")).requires_grad_()
    torch.autograd.grad(
        native_convolution(native_bf16, damaged, weight, None, 1, True).sum(), weight
    )
    values = native_convolution(native_bf16, images, weight, None, 1, bf16=True)
    [gradient] = torch.autograd.grad(values.sum(), weight)
    assert values.isfinite().all()
    assert gradient.isfinite().all()


def test_autocast_uses_them_where_the_processor_has_the_instructions(native_bf16, monkeypatch):
    images, weight, bias = draw_arguments(2, 32, 8, 8, 32)
    for available in (True, False):
        monkeypatch.setattr(native_bf16, "bf16_convolutions", available)
        with torch.autocast("cpu", torch.bfloat16):
            alone = conv2d(native_bf16, images, weight, 1)
            pooled = conv_pool_relu(native_bf16, images, weight, bias, 1)
        assert is_native(alone) == available
        assert torch.equal(
            alone, native_convolution(native_bf16, images, weight, None, 1, True)
        ) == (available)
        assert pooled.dtype == torch.bfloat16


@pytest.mark.parametrize("in_channels", [1, 32])
def test_they_are_an_error_where_the_processor_lacks_the_instructions(native, in_channels):
    """They would read and write beyond the memory of the tensors."""
    if native.bf16_convolutions:
        pytest.skip("this processor has them")
    images, weight, bias = draw_arguments(2, in_channels, 8, 8, 32)
    with pytest.raises(KernelError, match="no instructions for convolutions in bfloat16"):
        native_convolution(native, images, weight, bias, 1, bf16=True)
    pointers = [None] * 9
    shape = ConvShape(1, 8, 8, in_channels, 32, 1, 1, 1)
    assert native.conv_backward(*pointers, ctypes.byref(shape), 1) == NOT_COMPILED
