"""Datasets of other libraries, which have a length and return an image and a label by position.

Those of ``torch.utils.data``, torchvision and Hugging Face are recognized by this, so that none of
the libraries is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.data.options import LoadOptions
from fashioncnn.data.pixels import DEFAULT_IMAGE_SIZE, to_images
from fashioncnn.errors import DataError
from fashioncnn.images.views import compute_views

IMAGE_KEYS, LABEL_KEYS = ("image", "img"), ("label", "labels", "fine_label")
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
) -> tuple[NDArray[np.uint8], list[Any], tuple[str, ...] | None]:
    """Return the images, labels and any class names of a dataset.

    Args:
        data: with items (image, label), or dicts with ``image`` and ``label``. Images are PIL
            images, arrays or tensors, as for `to_images`. If the dataset transforms them at random,
            each image is read once.
        options: `image_size` applies; square PIL images up to 256 pixels keep their size without
            it.

    Raises:
        DataError: there are no items, or they are not images with labels.
    """
    subject = type(data).__name__
    if not len(data):
        raise DataError(f"{subject}: no images")
    images, labels = [], []
    size = options.image_size
    for position in range(len(data)):
        image, label = _pair(data[position], position, subject)
        if isinstance(image, Image.Image):
            size = size or _native_size(image)
            image = compute_views(image, "plain", size, options.channels)[0]
        images.append(image)
        labels.append(_plain_label(label, position, subject))
    names = _class_names(data)
    return to_images(images, options.image_size, subject, options.channels), labels, names


def first_label(data: Any) -> Any | None:
    """Return the label of the first item; None if it is a position in class names of the data."""
    if _class_names(data) is not None:
        return None
    subject = type(data).__name__
    return _plain_label(_pair(data[0], 0, subject)[1], 0, subject)


def _pair(item: Any, position: int, subject: str) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        image_key, label_key = (
            next((key for key in keys if key in item), None) for keys in (IMAGE_KEYS, LABEL_KEYS)
        )
        if image_key is not None and label_key is not None:
            return item[image_key], item[label_key]
    elif isinstance(item, tuple | list) and len(item) == 2:
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
