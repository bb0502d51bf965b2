"""The compiled library as a Python object: structures and function signatures of the C files."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any


class ConvShape(ctypes.Structure):
    """``conv_shape`` of tiles.c: sizes of a convolution's input and weights, padding in pixels."""

    _fields_ = [
        (name, ctypes.c_long)
        for name in (
            *("images", "height", "width", "in_channels", "out_channels", "padding"),
            *("pooled", "bf16"),
        )
    ]


class AdamStep(ctypes.Structure):
    """``adam_options`` of adam.c: the constants of one step."""

    _fields_ = [
        (name, ctypes.c_float)
        for name in (
            *("step_size", "one_minus_beta1", "one_minus_beta2", "beta2", "eps"),
            *("root_bias_correction2", "l2", "shrink"),
        )
    ]


class BatchNormOptions(ctypes.Structure):
    """``batch_norm_options`` of batch_norm.c; a row is one position of one image."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("rows", "channels", "bf16", "relu")),
        *((name, ctypes.c_double) for name in ("momentum", "eps")),
    ]


class PoolShape(ctypes.Structure):
    """``pool_shape`` of pooling.c: sizes of the input."""

    _fields_ = [(name, ctypes.c_long) for name in ("images", "height", "width", "channels", "bf16")]


class Kernels(ctypes.CDLL):
    """The loaded library; its attributes are the functions of the C files.

    Copies of an object that holds the kernels share them. Pickling stores no machine code:
    unpickling calls `fashioncnn.kernels.load_kernels`, which compiles them for the processor there.

    Attributes:
        vector_width: float32 values per vector register.
        channel_multiple: the channels of a convolution must be a multiple of this.
        bf16_convolutions: whether convolutions in bfloat16 are compiled.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        pointer, threads = ctypes.c_void_p, ctypes.c_int
        strides = ctypes.POINTER(ctypes.c_long)
        conv, pool = ctypes.POINTER(ConvShape), ctypes.POINTER(PoolShape)
        norm, adam = ctypes.POINTER(BatchNormOptions), ctypes.POINTER(AdamStep)
        weight: list[Any] = [pointer, strides]
        self._declare("conv_forward", pointer, *weight, *[pointer] * 3, conv, threads)
        self._declare(
            "conv_backward",
            *(pointer, *weight, *[pointer] * 3, *weight, pointer, conv, threads),
        )
        self._declare("batch_norm_forward", *[pointer] * 9, norm, threads)
        self._declare("batch_norm_backward", *[pointer] * 10, norm, threads)
        self._declare("batch_norm_inference", *[pointer] * 4, norm, threads, result=None)
        self._declare("pool_relu_forward", *[pointer] * 4, pool, threads, result=None)
        self._declare("pool_relu_backward", *[pointer] * 4, pool, threads)
        self._declare("adam_step", *[pointer] * 4, ctypes.c_long, adam, threads, result=None)
        self.vector_width = int(self.get_vector_width())
        self.channel_multiple = 2 * self.vector_width
        self.bf16_convolutions = bool(self.has_bf16_convolutions())

    def _declare(self, name: str, *arguments: Any, result: Any = ctypes.c_int) -> None:
        function = getattr(self, name)
        function.argtypes, function.restype = arguments, result

    def __deepcopy__(self, memo: dict[int, Any]) -> Kernels:
        return self

    def __reduce__(self) -> tuple[Callable[[], Kernels], tuple[()]]:
        from fashioncnn.kernels.build import load_kernels

        return load_kernels, ()
