"""Images of users in memory as arrays, (n, size, size[, 3]) uint8."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.data.containers import plain_images
from fashioncnn.errors import DataError, ImageError, UsageError
from fashioncnn.images.contents import Content, read_content
from fashioncnn.images.decoding import decoded_side, read_image
from fashioncnn.images.pil_images import from_pil
from fashioncnn.images.pixels import PixelValueError, to_levels
from fashioncnn.images.tensors import from_tensors
from fashioncnn.images.unreadable import raise_together
from fashioncnn.images.views import ViewMode, compute_views

DEFAULT_IMAGE_SIZE = 28
"""Side in pixels to which image files are resized."""
MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 8, 256
CHUNK = 1024
"""Images that are converted at a time, to bound the memory for intermediate results."""
# ITU-R 601-2, in units of 2**-16, as Pillow converts RGB to L.
LUMA = np.array([19595, 38470, 7471], np.uint32)


class ConvertedImages(list[NDArray[np.uint8]]):
    """The views of each image, (views, size, size[, 3]) uint8, which need no conversion."""


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
            default the size of arrays, which must be square, and 28 for other images.
        subject: what messages call the images.
        channels: 1 converts color images to luma, 3 keeps their colors; grayscale arrays remain
            grayscale.

    Raises:
        DataError: a shape is not supported, or an image cannot be read.
        UsageError: a type or value range is not supported, or `image_size` is out of range.
    """
    check_image_size(image_size)
    images = as_list(images)
    if is_list_of_images(images, image_size):
        size = image_size or default_size(images)
        return _stack([one[0] for one in views_of_list(images, "plain", size, channels)], size)
    array, size = _levels_and_size(images, image_size, subject)
    has_alpha = array.shape[3:] == (4,)
    if array.ndim == 4 and channels == 1 and not has_alpha:
        array = _to_luma(array)
    if array.shape[1:3] == (size, size) and not has_alpha:
        return array
    channels = channels if has_alpha else 1 if array.ndim == 3 else 3
    return _stack([_views_of(Image.fromarray(x), "plain", size, channels)[0] for x in array], size)


def to_views(
    images: Any, mode: ViewMode, image_size: int | None, subject: str, channels: int = 1
) -> list[NDArray[np.uint8]]:
    """Return the views of each image, (views, size, size[, 3]) uint8, as for a prediction.

    Gray arrays of the image size are the only view; other arrays are converted like files.

    Args:
        images: see `to_images`.
        mode: the conversion.
        image_size: see `to_images`.
        subject: what messages call the images.
        channels: 1 for grayscale, 3 for color.

    Raises:
        DataError, UsageError: see `to_images`.
    """
    check_image_size(image_size)
    images = as_list(images)
    if is_list_of_images(images, image_size):
        return views_of_list(images, mode, image_size or default_size(images), channels)
    array, size = _levels_and_size(images, image_size, subject)
    return [_views_of_levels(one, mode, size, channels) for one in array]


def as_list(images: Any) -> Any:
    """Return a sequence or iterator, a series, or an array of objects or strings, as a list.

    Frames and nested lists of numbers are returned as arrays. Everything else is returned
    unchanged: numbers in arrays, and single images.
    """
    images = plain_images(images)
    if isinstance(images, np.ndarray):
        return images
    if isinstance(images, list | tuple) or _is_image(images) or hasattr(images, "__array__"):
        return images
    return list(images) if isinstance(images, Sequence | Iterator) else images


def is_list_of_images(images: Any, image_size: int | None = None) -> bool:
    """Return whether these are images in a list that are converted one by one.

    At least one is a path, a PIL image or the content of an image file; or all are arrays of
    several shapes, and `image_size` is given.
    """
    if not isinstance(images, list | tuple):
        return False
    return any(map(_is_image, images)) or (image_size is not None and _differ_in_shape(images))


def default_size(images: Sequence[Any]) -> int:
    """Return the side of images without an `image_size`: that of the arrays among them, or 28.

    Raises:
        DataError: the arrays differ in size, or are not square.
    """
    sizes = {_image_shape(one) for one in images if not _is_image(one)}
    if not sizes:
        return DEFAULT_IMAGE_SIZE
    height, width = next(iter(sizes))
    if len(sizes) > 1 or height != width:
        raise DataError("images: arrays of different shapes beside image files; set image_size")
    return height


def are_paths(images: Any) -> bool:
    """Return whether these are paths in a list, at least one."""
    return (
        isinstance(images, list | tuple)
        and bool(images)
        and all(isinstance(one, str | os.PathLike) for one in images)
    )


def views_of_list(
    images: Sequence[Any], mode: ViewMode, size: int, channels: int
) -> list[NDArray[np.uint8]]:
    """Return the views of paths, PIL images, contents of image files, and arrays.

    Raises:
        UsageError: one of them is of another type.
        DataError: an array has another shape than that of one image.
        ImageError: images cannot be read; all of them are listed.
    """
    results = read_list(images, mode, size, channels)
    raise_together([result for result in results if isinstance(result, ImageError)])
    return [result for result in results if not isinstance(result, ImageError)]


def read_list(
    images: Sequence[Any], mode: ViewMode, size: int, channels: int
) -> list[NDArray[np.uint8] | ImageError]:
    """Return the views of each image, or why it cannot be read; see `views_of_list`."""
    results: list[NDArray[np.uint8] | ImageError] = []
    for position, one in enumerate(images):
        name = f"image {position}"
        try:
            if _is_image(one):
                results.append(_views_of(one, mode, size, channels, name))
            else:
                array, _ = _levels_and_size(_as_array(one, name)[None], size, name)
                results.append(_views_of_levels(array[0], mode, size, channels))
        except ImageError as error:
            results.append(error)
    return results


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


def _levels_and_size(
    images: Any, image_size: int | None, subject: str
) -> tuple[NDArray[np.uint8], int]:
    """Return (n, height, width[, 3 or 4]) levels, and the side to which they are resized."""
    array = _to_uint8(_with_three_dimensions(_as_array(images, subject), subject), subject)
    height, width = array.shape[1:3]
    if image_size is None and height != width:
        raise DataError(
            f"{subject} of {height}×{width} pixels: only square images are supported; pad them, or "
            "set image_size"
        )
    return array, image_size or height


def _as_array(images: Any, subject: str) -> NDArray[Any]:
    images = from_tensors(images, subject)
    try:
        # A masked array stays one, so that `to_levels` can reject masked values.
        array: NDArray[Any] = np.asanyarray(images)
    except ValueError:
        raise DataError(
            f"{subject}: arrays of different shapes; make them equal, or set image_size"
        ) from None
    if array.dtype.kind not in "buif":
        raise UsageError(
            f"{subject} of type {type(images).__name__} ({array.dtype}): should be an array of "
            "numbers, or a list of paths, PIL images or contents of image files"
        )
    return array if isinstance(array, np.ma.MaskedArray) else np.asarray(array)


def _with_three_dimensions(array: NDArray[Any], subject: str) -> NDArray[Any]:
    """Return (n, height, width), or (n, height, width, 3 or 4) for color images."""
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
    return isinstance(image, str | os.PathLike | Image.Image | Content) or hasattr(image, "read")


def _views_of(
    image: Any, mode: ViewMode, size: int, channels: int, name: str = ""
) -> NDArray[np.uint8]:
    """Return the views of what `_is_image` accepts; contents are called `name` in messages."""
    side = decoded_side(size)
    if isinstance(image, Image.Image):
        decoded = from_pil(image, side)
    elif isinstance(image, Content):
        decoded = read_image(BytesIO(image), name, min_side=side)
    elif hasattr(image, "read"):
        file, content = read_content(image)
        decoded = read_image(BytesIO(content), f"{name}: {file}", min_side=side)
    else:
        decoded = read_image(Path(os.fsdecode(image)), min_side=side)
    return compute_views(decoded, mode, size, channels)


def _views_of_levels(
    image: NDArray[np.uint8], mode: ViewMode, size: int, channels: int
) -> NDArray[np.uint8]:
    """Return the views of levels; gray ones of the image size are the only view."""
    shape = (size, size) if channels == 1 else (size, size, 3)
    if image.shape == shape:
        return image[None]
    return _views_of(Image.fromarray(image), mode, size, channels)


def _image_shape(image: Any) -> tuple[int, int]:
    """Return height and width of one image in memory; raises `DataError` or `UsageError`."""
    height, width = _with_three_dimensions(_as_array(image, "images")[None], "images").shape[1:3]
    return height, width


def _differ_in_shape(images: Sequence[Any]) -> bool:
    """Return whether all images are arrays or tensors, of several shapes."""
    return (
        all(hasattr(one, "shape") for one in images)
        and len({tuple(one.shape) for one in images}) > 1
    )


def _stack(views: list[NDArray[np.uint8]], size: int) -> NDArray[np.uint8]:
    return np.stack(views) if views else np.empty((0, size, size), np.uint8)
