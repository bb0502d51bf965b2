"""Random tensors, and comparison with references in float64."""

import torch

THREADS = (1, 2, 3)
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 5e-3}
"""Largest relative difference in the Euclidean norm that rounding explains."""


def draw(*size, dtype=torch.float32, seed=1):
    """Return standard normal values; four-dimensional tensors are channels_last."""
    values = torch.randn(size, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return values.contiguous(memory_format=torch.channels_last) if len(size) == 4 else values


UNSUPPORTED = {
    "double precision": lambda: draw(2, 32, 6, 6).double(),
    "channels": lambda: draw(2, 3, 6, 6),
    "contiguous layout": lambda: draw(2, 32, 6, 6).contiguous(),
    "strided view": lambda: draw(2, 64, 6, 6)[:, ::2],
    "no images": lambda: draw(0, 32, 6, 6),
}
"""Functions that return values for which batch norm and pooling use PyTorch."""


def assert_near(actual, expected, tolerance):
    expected = expected.double()
    difference = (actual.double() - expected).norm() / expected.norm()
    assert difference < tolerance, f"relative difference {difference:.1e}"


def assert_equals_float64(function, reference, tensors, tolerance=ROUNDING[torch.float32]):
    """Compare values and gradients with those of `reference` in float64, for several threads.

    Args:
        function: computed by the compiled kernels.
        reference: computed by PyTorch.
        tensors: the arguments of both; those that require a gradient are differentiated.
        tolerance: relative difference.
    """
    exact = [t.detach().double().requires_grad_(t.requires_grad) for t in tensors]
    inputs, exact_inputs = ([t for t in ts if t.requires_grad] for ts in (tensors, exact))
    expected = reference(*exact)
    gradient = draw(*expected.shape, dtype=tensors[0].dtype, seed=9)
    expected_gradients = torch.autograd.grad(expected, exact_inputs, gradient.double())
    for threads in THREADS:
        torch.set_num_threads(threads)
        actual = function(*tensors)
        assert is_native(actual), "PyTorch's operation was used"
        gradients = torch.autograd.grad(actual, inputs, gradient)
        for a, b in zip((actual, *gradients), (expected, *expected_gradients), strict=True):
            assert a.shape == b.shape
            assert_near(a, b, tolerance)


class NegativeGradient(torch.autograd.Function):
    """Passes on a gradient that is a lazily negated view, as of an imaginary part."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch._neg_view(-gradient)


def is_native(tensor):
    """Return whether a compiled kernel computed a tensor that requires a gradient."""
    functions = [tensor.grad_fn, *(function for function, _ in tensor.grad_fn.next_functions)]
    native = ("_ConvolutionBackward", "_BatchNormBackward", "_PoolReLUBackward")
    return any(type(function).__name__ in native for function in functions)
