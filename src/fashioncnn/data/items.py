"""Datasets of other libraries, which have a length and return an image and a label by position.

Those of ``torch.utils.data``, torchvision and Hugging Face are recognized by this, so that none of
the libraries is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from fashioncnn.data.options import LoadOptions
from fashioncnn.data.pixels import DEFAULT_IMAGE_SIZE, ConvertedImages, views_of_list
from fashioncnn.errors import DataError, ImageError, UsageError
from fashioncnn.images.unreadable import raise_together

IMAGE_KEYS, LABEL_KEYS = (
    ("image", "img", "pixel_values"),
    ("label", "labels", "fine_label", "target"),
)
MAX_NATIVE_SIZE = 256
"""Square PIL images up to this side keep their size."""


def is_item_dataset(data: Any) -> bool:
    """Whether `data` has a length and items by position, and is not a container of Python."""
    kind = type(data)
    containers = (list, tuple, Mapping, str, bytes, np.ndarray, set)
    return (
        hasattr(kind, "__len__")
        and hasattr(kind, "__getitem__")
        and not isinstance(data, containers)
    )


def read_items(
    data: Any, options: LoadOptions
) -> tuple[list[Any], list[Any], tuple[str, ...] | None]:
    """Return the images, labels and any class names of a dataset.

    Args:
        data: with items (image, label), or dicts with ``image`` and ``label``. Images are PIL
            images, arrays or tensors, as for `to_images`. If the dataset transforms them at random,
            each image is read once.
        options: `image_size`, `views` and `channels` apply; square PIL images up to 256 pixels keep
            their size without `image_size`.

    Returns:
        Arrays or tensors as they are, or `ConvertedImages` of PIL images, which are read one at a
        time.

    Raises:
        DataError: there are no items, or they are not images with labels.
        ImageError: images cannot be read; all of them are listed.
        UsageError: only some of the images are PIL images.
    """
    subject = type(data).__name__
    if not len(data):
        raise DataError(f"{subject}: no images")
    images, labels, errors = [], [], []
    size, are_pil = options.image_size, None
    for position in range(len(data)):
        image, label = _pair(data[position], position, subject)
        is_pil = isinstance(image, Image.Image)
        if is_pil is not (is_pil if are_pil is None else are_pil):
            raise UsageError(
                f"{subject}: item {position} has an image of type {type(image).__name__}, others "
                "not; make them all alike"
            )
        are_pil = is_pil
        labels.append(_plain_label(label, position, subject))
        if is_pil:
            size = size or _native_size(image)
            try:
                (image,) = views_of_list([image], options.views, size, options.channels)
            except ImageError as error:
                errors.append(ImageError(f"{subject}: item {position}: {error}"))
        images.append(image)
    raise_together(errors)
    return ConvertedImages(images) if are_pil else images, labels, _class_names(data)


def _pair(item: Any, position: int, subject: str) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        image_key, label_key = (
            next((key for key in keys if key in item), None) for keys in (IMAGE_KEYS, LABEL_KEYS)
        )
        if image_key is not None and label_key is not None:
            return item[image_key], item[label_key]
        keys = ", ".join(map(str, list(item)[:5]))
        raise DataError(
            f"{subject}: item {position} has the keys {keys}; should have 'image' and 'label'"
        )
    if isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise DataError(
        f"{subject}: item {position} of type {type(item).__name__}; should be (image, label)"
    )


def _native_size(image: Image.Image) -> int:
    is_small = image.width == image.height <= MAX_NATIVE_SIZE
    return image.width if is_small else DEFAULT_IMAGE_SIZE


def _plain_label(label: Any, position: int, subject: str) -> Any:
    """Return the label as a Python value; tensors and arrays of one value have `item`."""
    if not hasattr(label, "item"):
        return label
    try:
        return label.item()
    except (ValueError, RuntimeError):
        raise DataError(
            f"{subject}: the label of item {position} has several values; should be an integer or "
            "a name; of one-hot labels, use the argmax"
        ) from None


def _class_names(data: Any) -> tuple[str, ...] | None:
    """Return the names of torchvision's ``classes`` or of Hugging Face's ``features``."""
    names = getattr(data, "classes", None)
    features = getattr(data, "features", None)
    if names is None and isinstance(features, Mapping):
        feature = next((features[key] for key in LABEL_KEYS if key in features), None)
        names = getattr(feature, "names", None)
    is_list = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_list and names else None
