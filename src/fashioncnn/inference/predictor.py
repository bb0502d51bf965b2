"""What is on these pictures? Files, arrays, tensors and PIL images in; probabilities out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.data.folders import find_pictures
from fashioncnn.data.pictures import CONVERSIONS, read_picture
from fashioncnn.errors import PictureError, UsageError
from fashioncnn.evaluation.logits import compute_logits, to_tensor
from fashioncnn.evaluation.metrics import softmax
from fashioncnn.models.preprocessing import Preprocessing
from fashioncnn.models.store import TrainedModel

BATCH = 256


@dataclass(frozen=True)
class Prediction:
    """What one picture was taken for.

    Attributes:
        source: the file.
        probabilities: (classes,) float64; None where the picture could not be read.
        error: why not.
    """

    source: str
    probabilities: NDArray[np.float64] | None
    error: str | None


def predict_files(model: TrainedModel, paths: Iterable[Path]) -> Iterator[Prediction]:
    """Yield a prediction for each file, in order, a batch at a time in memory."""
    convert = CONVERSIONS[model.preprocessing.pictures]
    remaining = iter(paths)
    while batch := list(islice(remaining, BATCH)):
        images, errors = [], {}
        for path in batch:
            try:
                images.append(convert(read_picture(path), model.preprocessing.image_size))
            except PictureError as error:
                errors[path] = str(error)
        rows = iter(predict_probabilities(model, np.stack(images))) if images else iter(())
        for path in batch:
            reason = errors.get(path)
            yield Prediction(str(path), None if reason else next(rows), reason)


def predict_logits(model: TrainedModel, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (n, classes) float32 for (n, size, size) uint8 images."""
    if not len(images):
        return np.empty((0, len(model.class_names)), np.float32)
    tensor = to_tensor(images, model.device)
    return compute_logits(model.network, model.preprocessing, tensor)


def predict_probabilities(model: TrainedModel, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return (n, classes) float64, calibrated, for (n, size, size) uint8 images."""
    logits = predict_logits(model, images)
    return (
        softmax(logits / np.float32(model.temperature))
        if len(logits)
        else logits.astype(np.float64)
    )


def expand_sources(sources: Sequence[str]) -> list[Path]:
    """Return the files that `sources` name: files as they are, of folders every picture.

    Raises:
        UsageError: a folder holds no pictures.
    """
    paths: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found = find_pictures(path)
            if not found:
                raise UsageError(
                    f"{source}: a folder without a picture (JPEG, PNG, WEBP, GIF, BMP)"
                )
            paths += found
        else:
            paths.append(path)
    return paths


def as_images(inputs: Any, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return (n, size, size) uint8 for whatever holds pictures.

    Args:
        inputs: a path or PIL image, or an array or tensor: (height, width) one grey picture,
            (n, height, width), (n, 1, height, width) or (n, height, width, 1) several; uint8 in
            [0, 255] or float in [0, 1]. Or a sequence of any of these.
        preprocessing: of the network. Arrays that already have its size are taken as they are;
            all else goes through its conversion.

    Raises:
        UsageError: the type, shape or range fits none of these.
        PictureError: a file cannot be read.
    """
    if isinstance(inputs, str | Path | Image.Image):
        return _convert(inputs, preprocessing)[None]
    if isinstance(inputs, torch.Tensor):
        inputs = inputs.detach().cpu()
        inputs = (inputs.float() if inputs.is_floating_point() else inputs).numpy()
    if isinstance(inputs, np.ndarray):
        return _from_array(inputs, preprocessing)
    if isinstance(inputs, Sequence):
        parts = [as_images(one, preprocessing) for one in inputs]
        size = preprocessing.image_size
        return np.concatenate(parts) if parts else np.empty((0, size, size), np.uint8)
    raise UsageError(
        f"pictures of type {type(inputs).__name__}; give paths, PIL images, arrays or tensors"
    )


def _from_array(array: NDArray[Any], preprocessing: Preprocessing) -> NDArray[np.uint8]:
    shape = array.shape
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 4 and shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 4 and shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 or 0 in array.shape[1:] or array.shape[2] in (3, 4):
        raise UsageError(
            f"an array of shape {shape}; give grey pictures as (height, width), "
            "(n, height, width) or (n, 1, height, width), colour as PIL images"
        )
    images = _as_uint8(array)
    size = preprocessing.image_size
    if images.shape[1:] == (size, size):
        return images
    convert = CONVERSIONS[preprocessing.pictures]
    return np.stack([convert(Image.fromarray(image), size) for image in images])


def _as_uint8(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if not array.size:
        return array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise UsageError(f"an array of {array.dtype}; give uint8 or floats from 0 to 1")
    low, high = float(array.min()), float(array.max())
    if np.issubdtype(array.dtype, np.floating) and low >= 0 and high <= 1:
        return np.round(array * 255).astype(np.uint8)
    if np.issubdtype(array.dtype, np.integer) and low >= 0 and high <= 255:
        return array.astype(np.uint8)
    raise UsageError(
        f"an array of {array.dtype} from {low:g} to {high:g}; give uint8 from 0 to 255 or floats "
        "from 0 to 1"
    )


def _convert(picture: str | Path | Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    image = picture if isinstance(picture, Image.Image) else read_picture(Path(picture))
    return CONVERSIONS[preprocessing.pictures](image, preprocessing.image_size)
