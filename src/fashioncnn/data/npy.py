"""Parse NumPy's ``.npy`` format, which ``.npz`` archives contain, without trusting its header."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray


def parse_npy(content: bytes) -> NDArray[np.generic]:
    """Return the array of a ``.npy`` file whose header declares what the file contains.

    Nothing is allocated for what the header declares but the file does not contain.

    Args:
        content: of the file.

    Raises:
        ValueError: the content is malformed, has Python objects, or another size than declared.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"version {version} of the format, expected 1.0 or 2.0")
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"array of type {dtype} and shape {shape}")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"{len(content):,} bytes for an array of shape {shape}")
    values = np.frombuffer(content, dtype, offset=file.tell())
    return values.reshape(shape, order="F" if fortran_order else "C").copy()
