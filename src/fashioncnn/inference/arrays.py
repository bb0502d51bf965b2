"""Arrays, tensors, PIL images, files and their contents, as users pass them, as views."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from numbers import Number
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.data.labels import OBJECTS
from fashioncnn.errors import ImageError, UsageError
from fashioncnn.images.contents import Content, read_content
from fashioncnn.images.decoding import decoded_side, finish_image
from fashioncnn.images.files import SkippedFiles
from fashioncnn.images.pil_images import from_pil
from fashioncnn.images.pixels import to_levels
from fashioncnn.images.tensors import from_tensors, is_tensor
from fashioncnn.images.unreadable import raise_together
from fashioncnn.inference.inputs import LoadedImage, load_image, load_views
from fashioncnn.inference.shapes import CHANNELS_LAST, as_stack
from fashioncnn.inference.sources import STDIN, ImageSource, find_sources

Views = NDArray[np.uint8]
SUPPORTED = "paths, PIL images, arrays, tensors, or the content of image files"


def as_views(inputs: Any, preprocessing: Preprocessing) -> list[Views]:
    """Return the views of each image in `inputs`, (views, size, size) uint8.

    The result does not depend on whether an image is passed by its path, its content or opened
    with Pillow; see `from_pil` for the one small exception.

    Args:
        inputs: one of these, or a sequence or iterator of them:

            - a path of an image, of a folder, of which all images are read, of an IDX file, or a
              pattern with ``*``;
            - the content of an image file: bytes, or a file opened in binary mode;
            - a PIL image of any mode;
            - an array, a tensor, a pandas object, or nested lists of numbers, in a shape of
              `fashioncnn.inference.shapes.as_stack` with values of
              `fashioncnn.images.pixels.to_levels`. The range of values is that of the whole
              array.
        preprocessing: of the model. Gray arrays of its image size are used unchanged; other arrays
            are processed like image files.

    Raises:
        UsageError: a type, shape or value range is not supported.
        ImageError: files cannot be read; all of them are listed.
    """
    return [image.views for image in load_images(inputs, preprocessing) if image.views is not None]


def load_images(inputs: Any, preprocessing: Preprocessing) -> list[LoadedImage]:
    """Return each image in `inputs` with its views and a name.

    The name is the path of the image, also of one in a folder, else such as ``image 3``.

    Args:
        inputs: see `as_views`.
        preprocessing: of the model.

    Raises:
        UsageError, ImageError: see `as_views`.
    """
    images = list(_iterate_images(inputs, preprocessing))
    raise_together(_errors(images))
    return [x if x.name else replace(x, name=f"image {i}") for i, x in enumerate(images)]


def as_images(inputs: Any, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return the first view of each image, (n, size, size[, 3]) uint8; see `as_views`."""
    views, shape = as_views(inputs, preprocessing), preprocessing.input_shape
    return np.stack([one[0] for one in views]) if views else np.empty((0, *shape), np.uint8)


def _errors(images: Sequence[LoadedImage]) -> list[ImageError]:
    """Return the errors of images; of several, one without a name is called by its position."""
    return [
        ImageError(x.error if x.name or len(images) == 1 else f"image {i}: {x.error}")
        for i, x in enumerate(images)
        if x.views is None
    ]


def _iterate_images(inputs: Any, preprocessing: Preprocessing) -> Iterator[LoadedImage]:
    """Yield the images, those that cannot be read with their error."""
    if isinstance(inputs, str | os.PathLike):
        yield from _images_of_path(os.fsdecode(inputs), preprocessing)
    elif isinstance(inputs, Content):
        source = ImageSource(type(inputs).__name__, bytes(inputs))
        yield replace(load_views(source, preprocessing), name="")
    elif isinstance(inputs, Image.Image):
        yield _load_pil(inputs, preprocessing)
    elif hasattr(inputs, "read"):
        yield replace(load_views(ImageSource(*read_content(inputs)), preprocessing), name="")
    elif is_tensor(inputs):
        yield from _images_of_array(from_tensors(inputs, "images"), preprocessing)
    elif hasattr(inputs, "__array__"):
        array = inputs if isinstance(inputs, np.ma.MaskedArray) else np.asarray(inputs)
        yield from _images_of_array(array, preprocessing)
    elif isinstance(inputs, Sequence) and _has_numbers(inputs):
        yield from _images_of_array(_numbers_to_array(inputs), preprocessing)
    elif isinstance(inputs, Sequence | Iterator):
        for one in _elements(inputs):
            yield from _iterate_images(one, preprocessing)
    else:
        raise UsageError(f"images of type {type(inputs).__name__}; should be {SUPPORTED}")


def _elements(inputs: Sequence[Any] | Iterator[Any]) -> Iterator[Any]:
    """Yield the elements of a sequence or iterator, arrays of one color image as (1, 3, h, w).

    An array (3, height, width) is one color image, as transforms of torchvision return it and as
    training reads a list of them; beside arrays of other numbers of images, it is three gray ones.

    Raises:
        UsageError: it comes from an iterator, of which the other elements are not known.
    """
    if isinstance(inputs, Iterator):
        for one in inputs:
            if _planes(one) == 3:
                raise UsageError(
                    f"array of shape {tuple(one.shape)} from an iterator: unclear, one color image "
                    "or three gray ones; give a list"
                )
            yield one
        return
    are_batches = any(_planes(one) not in (None, 1, 3) for one in inputs)
    for one in inputs:
        yield one[None] if _planes(one) == 3 and not are_batches else one


def _planes(one: Any) -> int | None:
    """Return n of an array (n, height, width); None for other shapes and types."""
    shape: tuple[int, ...] = tuple(getattr(one, "shape", ()))
    return shape[0] if len(shape) == 3 and shape[2] not in CHANNELS_LAST else None


def _images_of_path(path: str, preprocessing: Preprocessing) -> Iterator[LoadedImage]:
    """Yield an image, all images in a folder or an IDX file, or of matches."""
    skipped = SkippedFiles()
    name = str(Path(".", STDIN).absolute()) if path == STDIN else path  # not standard input
    for source in find_sources([name], BytesIO(), 0, skipped):
        loaded = load_views(source, preprocessing)
        yield replace(loaded, name=path) if source.name == name else loaded
    if message := skipped.describe():
        warnings.warn(message, stacklevel=2)


def _load_pil(image: Image.Image, preprocessing: Preprocessing) -> LoadedImage:
    try:
        decoded = from_pil(image, decoded_side(preprocessing.image_size))
    except ImageError as error:
        return LoadedImage("", None, str(error))
    return load_image(decoded, preprocessing)


def _has_numbers(inputs: Sequence[Any]) -> bool:
    """Return whether nested lists end in numbers, as after ``array.tolist()``."""
    first: Any = inputs
    while isinstance(first, list | tuple) and first:
        first = first[0]
    return isinstance(first, Number) and not isinstance(first, np.generic)


def _numbers_to_array(inputs: Sequence[Any]) -> NDArray[Any]:
    try:
        return np.asarray(inputs)
    except ValueError:
        raise UsageError("lists of numbers of unequal lengths; should be images") from None


def _images_of_array(array: NDArray[Any], preprocessing: Preprocessing) -> Iterator[LoadedImage]:
    if array.dtype.kind in OBJECTS and array.ndim == 1:
        for one in _elements(array.tolist()):
            yield from _iterate_images(one, preprocessing)
        return
    if array.shape == (0,):
        return
    size, channels = preprocessing.image_size, preprocessing.channels
    for pixels in to_levels(as_stack(array, size, channels)):
        if pixels.shape == preprocessing.input_shape:
            yield LoadedImage("", pixels[None])
            continue
        image = finish_image(Image.fromarray(np.ascontiguousarray(pixels)), decoded_side(size))
        yield load_image(image, preprocessing)
