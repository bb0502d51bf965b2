"""What users pass as images: frames and rows of pixels become arrays of images."""

from __future__ import annotations

from typing import Any

from fashioncnn.data.containers import plain_images
from fashioncnn.errors import UsageError


def row_length(images: Any) -> int | None:
    """Return the number of values of each row, for images given as rows; else None."""
    shape: tuple[int, ...] = getattr(images, "shape", ())
    return int(shape[1]) if len(shape) == 2 else None


def images_to_predict(images: Any, size: int, features: int | None) -> Any:
    """Return images for a model of `size` pixels; rows become (n, size, size).

    Args:
        images: see `plain_images`.
        size: side of the model input.
        features: values per row that the model was trained on, if it was trained on rows.

    Raises:
        UsageError: rows have another length.
    """
    images = plain_images(images)
    length = row_length(images)
    if length is None:
        return images
    if features is not None and length != features:
        raise UsageError(f"images have {length} features, but the classifier expects {features}")
    is_row = features is not None and length == size * size  # else `as_views` decides
    return images.reshape(-1, size, size) if is_row else images
