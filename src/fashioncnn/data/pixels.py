"""Images of users in memory as arrays, (n, size, size[, 3]) uint8."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.data.labels import is_tensor
from fashioncnn.errors import DataError, UsageError
from fashioncnn.images.contents import Content, read_content
from fashioncnn.images.decoding import decoded_side, read_image
from fashioncnn.images.pil_images import from_pil
from fashioncnn.images.pixels import PixelValueError, to_levels
from fashioncnn.images.views import compute_views

DEFAULT_IMAGE_SIZE = 28
"""Side in pixels to which image files are resized."""
MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 8, 256
CHUNK = 1024
"""Images that are converted at a time, to bound the memory for intermediate results."""
# ITU-R 601-2, in units of 2**-16, as Pillow converts RGB to L.
LUMA = np.array([19595, 38470, 7471], np.uint32)


def to_images(
    images: Any, image_size: int | None = None, subject: str = "images", channels: int = 1
) -> NDArray[np.uint8]:
    """Return images as (n, size, size) uint8, or (n, size, size, 3) in color.

    Args:
        images: an array, tensor or frame with the shape (n, size, size), (n, 1, size, size),
            (n, size, size, 1), (n, size · size), or for color images (n, 3, size, size),
            (n, size, size, 3) or (n, size, size, 4); or a sequence or iterator of paths, PIL
            images, or the contents of image files, as bytes or files opened in binary mode.
            Values are those of `fashioncnn.images.pixels.to_levels`.
        image_size: side in pixels; images of another size are padded to a square and resized. By
            default the size of arrays, which must be square, and 28 for paths and PIL images.
        subject: what messages call the images.
        channels: 1 converts color images to luma, 3 keeps their colors; grayscale arrays remain
            grayscale.

    Raises:
        DataError: a shape is not supported, or an image cannot be read.
        UsageError: a type or value range is not supported, or `image_size` is out of range.
    """
    check_image_size(image_size)
    if isinstance(images, Iterator) and not hasattr(images, "read"):
        images = list(images)
    if isinstance(images, list | tuple) and any(map(_is_image, images)):
        size = image_size or DEFAULT_IMAGE_SIZE
        return _stack(
            [_view_of(x, size, channels, f"image {i}") for i, x in enumerate(images)], size
        )
    array = _to_uint8(_with_three_dimensions(_as_array(images, subject), subject), subject)
    if array.ndim == 4 and channels == 1 and array.shape[3] == 3:
        array = _to_luma(array)
    height, width = array.shape[1:3]
    if image_size is None and height != width:
        raise DataError(
            f"{subject} of {height}×{width} pixels: only square images are supported; pad them, or "
            "set image_size"
        )
    size = image_size or height
    has_alpha = array.shape[3:] == (4,)
    if (height, width) == (size, size) and not has_alpha:
        return array
    channels = channels if has_alpha else 1 if array.ndim == 3 else 3
    return _stack([_view_of(Image.fromarray(one), size, channels) for one in array], size)


def check_image_size(image_size: int | None) -> None:
    """Raise `UsageError` if a side in pixels is not an integer, or out of range."""
    if image_size is None:
        return
    is_integer = isinstance(image_size, int | np.integer) and not isinstance(image_size, bool)
    if not is_integer or not MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE:
        raise UsageError(
            f"image_size = {image_size}: must be an integer from {MIN_IMAGE_SIZE} to "
            f"{MAX_IMAGE_SIZE} pixels"
        )


def _as_array(images: Any, subject: str) -> NDArray[Any]:
    if is_tensor(images):
        images = images.detach().cpu()
        images = (images.float() if images.is_floating_point() else images).numpy()
    elif isinstance(images, Sequence) and any(map(is_tensor, images)):
        images = [_as_array(one, subject) for one in images]
    try:
        array = np.asarray(images)
    except ValueError:
        raise DataError(f"{subject}: arrays of different shapes; make them equal") from None
    if array.dtype.kind not in "buif":
        raise UsageError(
            f"{subject} of type {type(images).__name__} ({array.dtype}): should be an array of "
            "numbers, or a list of paths, PIL images or contents of image files"
        )
    return array


def _with_three_dimensions(array: NDArray[Any], subject: str) -> NDArray[Any]:
    """Return (n, height, width), or (n, height, width, 3) for color images."""
    shape = array.shape
    if array.ndim == 2 and (side := math.isqrt(shape[1])) > 1 and side * side == shape[1]:
        return array.reshape(-1, side, side)
    if array.ndim == 4 and shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 4 and shape[3] == 1:
        array = array[..., 0]
    elif array.ndim == 4 and shape[3] != 3 and shape[1] == 3:
        array = array.transpose(0, 2, 3, 1)
    if 0 in array.shape[1:] or (array.ndim != 3 and array.shape[3:] not in ((3,), (4,))):
        raise DataError(
            f"{subject} of shape {shape}: should be (n, size, size), (n, 1, size, size), "
            "(n, size · size), or (n, size, size, 3) for color images"
        )
    return array


def _to_uint8(array: NDArray[Any], subject: str) -> NDArray[np.uint8]:
    try:
        return to_levels(array)
    except PixelValueError as error:
        raise PixelValueError(f"{subject}: {error}") from None


def _to_luma(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    result = np.empty(array.shape[:3], np.uint8)
    for chunk, target in zip(_chunks(array), _chunks(result), strict=True):
        target[...] = (chunk.astype(np.uint32) @ LUMA + 0x8000) >> 16
    return result


def _chunks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (array[start : start + CHUNK] for start in range(0, len(array), CHUNK))


def _is_image(image: Any) -> bool:
    """Return whether this is one image file, its content, or a PIL image."""
    return isinstance(image, str | Path | Image.Image | Content) or hasattr(image, "read")


def _view_of(image: Any, size: int, channels: int, name: str = "") -> NDArray[np.uint8]:
    if isinstance(image, Content):
        image = read_image(BytesIO(image), name, min_side=decoded_side(size))
    elif hasattr(image, "read"):
        name, content = read_content(image)
        image = read_image(BytesIO(content), name, min_side=decoded_side(size))
    elif isinstance(image, str | Path):
        image = read_image(Path(image), min_side=decoded_side(size))
    elif isinstance(image, Image.Image):
        image = from_pil(image, decoded_side(size))
    if not isinstance(image, Image.Image):
        raise UsageError(
            f"images of type {type(image).__name__} among paths or PIL images; make them all alike"
        )
    view: NDArray[np.uint8] = compute_views(image, "plain", size, channels)[0]
    return view


def _stack(views: list[NDArray[np.uint8]], size: int) -> NDArray[np.uint8]:
    return np.stack(views) if views else np.empty((0, size, size), np.uint8)
