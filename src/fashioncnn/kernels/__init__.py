"""Convolution, max pooling and ReLU as one step: by PyTorch, or by our own compiled kernels.

The kernels (``conv_pool.c``) do the same mathematics as PyTorch with other roundings. They never
write the convolution's full output to memory, and need 2.25 times fewer multiplications in
every layer but the first. What they gave is told in docs/PERFORMANCE.md.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fashioncnn.errors import KernelError
from fashioncnn.kernels.build import Shape, library

KERNEL, POOL = 3, 2
TOLERANCE = 1e-4
"""Largest difference to PyTorch's answers that a fresh library may show, relative to their size.
Rounding gives about 1e-6."""

_active: ctypes.CDLL | None = None


def why_not_native() -> str | None:
    """Return why the compiled kernels cannot be had here, or None where they can."""
    try:
        library(_fault)
    except KernelError as error:
        return str(error)
    return None


def use(name: str) -> None:
    """Have this process compute with the kernels called `name`: ``native`` or ``torch``.

    Raises:
        KernelError: the compiled kernels cannot be had here.
    """
    _activate(library(_fault) if name == "native" else None)


def _activate(kernels: ctypes.CDLL | None) -> None:
    global _active  # noqa: PLW0603
    _active = kernels


def _fault(fresh: ctypes.CDLL) -> str | None:
    """Return what is wrong with freshly compiled kernels, or None."""
    threads = torch.get_num_threads()
    if fresh.team(threads) != threads:
        return "the compiler makes no use of several threads (GCC does)"
    before = _active
    try:
        _activate(fresh)
        channels = 2 * int(fresh.lanes())
        differences = _differences(1, channels) + _differences(channels, channels)
    finally:
        _activate(before)
    # Not `any(d > TOLERANCE)`, which NaN would pass.
    if all(difference <= TOLERANCE for difference in differences):
        return None
    return f"they answer otherwise than PyTorch (relative differences {differences})"


def _differences(in_channels: int, out_channels: int) -> list[float]:
    """Return the relative differences of values and of gradients to those of PyTorch."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    images = draw(3, in_channels, 9, 8).requires_grad_(in_channels > 1)
    weight = draw(out_channels, in_channels, KERNEL, KERNEL).requires_grad_()
    bias = draw(out_channels).requires_grad_()
    gradient = draw(3, out_channels, 4, 4)
    inputs = [tensor for tensor in (images, weight, bias) if tensor.requires_grad]
    answers = []
    for function in (_native, _by_torch):
        values = function(images, weight, bias, 1)
        answers.append([values.detach(), *torch.autograd.grad(values, inputs, gradient)])
    return [float((a - b).norm() / b.norm()) for a, b in zip(*answers, strict=True)]


def conv_pool_relu(images: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Return ReLU of the 2×2 max-pooled convolution.

    The maximum of rectified values is the rectified maximum: pooling first is the same
    mathematics with a quarter of the values to rectify.

    Args:
        images: (n, in, height, width) float.
        weight: (out, in, k, k) float.
        bias: (out,) float, or None.
        padding: zeros around each picture, in pixels.

    Returns:
        (n, out, (height + 2·padding - k + 1) // 2, likewise) float.
    """
    if _active is not None and bias is not None and _suits(_active, images, weight, padding):
        return _native(images, weight, bias, padding)
    return _by_torch(images, weight, bias, padding)


def flatten_pictures(features: Tensor) -> Tensor:
    """Return (n, channels · height · width) of (n, channels, height, width), in that order.

    What `torch.flatten` gives; faster where the memory holds channels last.
    """
    if _active is None or not _is_channels_last_float(features):
        return torch.flatten(features, 1)
    result: Tensor = _Flatten.apply(features)  # type: ignore[no-untyped-call]
    return result


def _is_channels_last_float(features: Tensor) -> bool:
    return (
        features.device.type == "cpu"
        and features.dtype == torch.float32
        and features.is_contiguous(memory_format=torch.channels_last)
        and len(features) > 0
        and not torch.compiler.is_compiling()
    )


def _by_torch(images: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    return F.relu(F.max_pool2d(F.conv2d(images, weight, bias, padding=padding), POOL))


def _native(images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
    result: Tensor = _ConvPoolReLU.apply(images, weight, bias, padding)  # type: ignore[no-untyped-call]
    return result


def _suits(kernels: ctypes.CDLL, images: Tensor, weight: Tensor, padding: int) -> bool:
    """Whether the compiled kernels can do this layer."""
    multiple = 2 * int(kernels.lanes())
    out_channels, in_channels, *sides = weight.shape
    return (
        images.device.type == "cpu"
        and images.dtype == weight.dtype == torch.float32
        and sides == [KERNEL, KERNEL]
        and out_channels % multiple == 0
        and (in_channels % multiple == 0 or (in_channels == 1 and not images.requires_grad))
        and min(images.shape[2:]) + 2 * padding >= KERNEL + POOL - 1
        and len(images) > 0
        and not torch.compiler.is_compiling()
    )


class _ConvPoolReLU(torch.autograd.Function):
    """The compiled kernels: float32 on the CPU, under autocast too."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, padding: int) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        n, in_channels, height, width = images.shape
        out_channels = len(weight)
        shape = Shape(n, height, width, in_channels, out_channels, padding)
        rows, columns = ((side + 2 * padding - KERNEL + 1) // POOL for side in (height, width))
        kept = torch.empty((n, rows, columns, out_channels))
        places = None
        if any(ctx.needs_input_grad):
            places = torch.empty(kept.shape, dtype=torch.uint8)
        _call(
            "conv_pool_forward",
            _pointer(images),
            _pointer(weight),
            _strides(weight),
            _pointer(bias.contiguous()),
            _pointer(kept),
            _pointer(places),
            shape,
        )
        ctx.save_for_backward(images, weight, places)
        ctx.shape = shape
        return kept.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        images, weight, places = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_images = torch.empty_like(images) if ctx.needs_input_grad[0] else None
        of_weight = torch.empty_like(weight)
        of_bias = torch.empty(len(weight))
        _call(
            "conv_pool_backward",
            _pointer(images),
            _pointer(weight),
            _strides(weight),
            _pointer(gradient),
            _pointer(places),
            _pointer(of_images),
            _pointer(of_weight),
            _strides(of_weight),
            _pointer(of_bias),
            ctx.shape,
        )
        return of_images, of_weight, of_bias, None


class _Flatten(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.shape = features.shape
        flat = torch.empty(len(features), features[0].numel())
        _turn(features, flat, features.shape, back=False)
        return flat

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        of_features = torch.empty(ctx.shape, memory_format=torch.channels_last)
        _turn(gradient.contiguous(), of_features, ctx.shape, back=True)
        return of_features


def _turn(source: Tensor, target: Tensor, shape: torch.Size, *, back: bool) -> None:
    n, channels, height, width = shape
    sizes = n, height * width, channels
    kernel = getattr(_active, "turn_pictures")  # noqa: B009
    kernel(_pointer(source), _pointer(target), *sizes, back, torch.get_num_threads())


def _call(function: str, *arguments: Any) -> None:
    """Call a kernel on as many threads as torch uses; the last argument is a `Shape`."""
    *tensors, shape = arguments
    kernel = getattr(_active, function)
    if kernel(*tensors, ctypes.byref(shape), torch.get_num_threads()) != 0:
        raise MemoryError(f"{function}: not enough memory for its scratch space")


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _strides(weight: Tensor) -> Any:
    return (ctypes.c_long * 4)(*weight.stride())
