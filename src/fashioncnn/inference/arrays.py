"""Arrays, tensors, PIL images and paths of users as views."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.errors import UsageError
from fashioncnn.images.decoding import read_image
from fashioncnn.inference.inputs import compute_views, required_pixels

Views = NDArray[np.uint8]


def as_views(inputs: Any, preprocessing: Preprocessing) -> list[Views]:
    """Return the views of each image in `inputs`, (views, size, size) uint8.

    Args:
        inputs: a path or PIL image; an array or tensor with the shape (height, width) for one grey
            image, (n, height, width), (n, 1, height, width) or (n, height, width, 1) for several,
            uint8 in [0, 255] or float in [0, 1]; or a sequence of any of these.
        preprocessing: of the model. Arrays of its image size are used unchanged; other arrays are
            processed like image files.

    Raises:
        UsageError: a type, shape or value range is not supported.
        ImageError: a file cannot be read.
    """
    if isinstance(inputs, str | Path | Image.Image):
        return [_views_of_image(inputs, preprocessing)]
    if hasattr(inputs, "detach"):  # a torch.Tensor; this module does not import torch
        inputs = _tensor_to_array(inputs)
    if isinstance(inputs, np.ndarray):
        return _views_of_array(inputs, preprocessing)
    if isinstance(inputs, Sequence) and not isinstance(inputs, bytes | bytearray):
        return [views for one in inputs for views in as_views(one, preprocessing)]
    raise UsageError(
        f"images of type {type(inputs).__name__}; should be paths, PIL images, arrays or tensors"
    )


def as_images(inputs: Any, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return the first view of each image, (n, size, size) uint8; see `as_views`."""
    views = as_views(inputs, preprocessing)
    size = preprocessing.image_size
    return np.stack([one[0] for one in views]) if views else np.empty((0, size, size), np.uint8)


def _tensor_to_array(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    # NumPy has no bfloat16.
    array: NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array


def _views_of_image(image: str | Path | Image.Image, preprocessing: Preprocessing) -> Views:
    if not isinstance(image, Image.Image):
        image = read_image(Path(image), min_side=required_pixels(preprocessing))
    return compute_views(image, preprocessing)


def _views_of_array(array: NDArray[Any], preprocessing: Preprocessing) -> list[Views]:
    shape = array.shape
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 4 and shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 4 and shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 or 0 in array.shape[1:] or array.shape[2] in (1, 3, 4):
        raise UsageError(
            f"array of shape {shape}: should be (height, width), (n, height, width) or "
            "(n, 1, height, width) for grey images; pass color images as PIL images"
        )
    images = _to_uint8(array)
    size = preprocessing.image_size
    if images.shape[1:] == (size, size):
        return list(images[:, None])
    return [compute_views(Image.fromarray(image), preprocessing) for image in images]


def _to_uint8(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if not array.size:
        return array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise UsageError(f"array of {array.dtype}: should be uint8, or float in [0, 1]")
    low, high = float(array.min()), float(array.max())
    if np.issubdtype(array.dtype, np.floating) and low >= 0 and high <= 1:
        return np.round(array * 255).astype(np.uint8)
    if np.issubdtype(array.dtype, np.integer) and low >= 0 and high <= 255:
        return array.astype(np.uint8)
    raise UsageError(
        f"array of {array.dtype} in [{low:g}, {high:g}]: should be uint8 in [0, 255] or float in "
        "[0, 1]"
    )
