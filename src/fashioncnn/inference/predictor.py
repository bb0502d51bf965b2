"""What is on these images? Files, arrays, tensors and PIL images in; probabilities out."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.artifacts.ood import Floats, logit_std
from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.errors import UsageError
from fashioncnn.evaluation.logits import compute_logits, to_tensor
from fashioncnn.evaluation.metrics import softmax
from fashioncnn.images.decoding import MAX_PIXELS, read_image
from fashioncnn.inference.inputs import compute_views, load_views, map_in_order, required_pixels
from fashioncnn.inference.sources import ImageSource
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.runtime import available_cores

BATCH = 128
MIRRORED = frozenset({"photo"})
"""Kinds of preprocessing whose views are seen mirrored as well: twice the network's work, which is
little beside the decoding of a photograph."""


@dataclass(frozen=True)
class Prediction:
    """What one image was taken for.

    Attributes:
        source: the file, or what else it is called.
        probabilities: (classes,) float64; None where the image could not be read.
        error: why not.
        views: what the network saw of it, (views, size, size) uint8.
        found: whether the source named anything at all.
        abstained: whether the model is too little sure for an answer.
        confidence: how sure it is, in [0, 1], see `TrainedModel.confidences`; None where the
            image could not be read.
        resized: whether the image had another size than the network's, as photographs have.
    """

    source: str
    probabilities: NDArray[np.float64] | None
    error: str | None
    views: NDArray[np.uint8] | None = None
    found: bool = True
    abstained: bool = False
    confidence: float | None = None
    resized: bool = False


def predict_images(
    model: TrainedModel, images: Iterable[ImageSource], max_pixels: int = MAX_PIXELS
) -> Generator[Prediction, None, None]:
    """Yield a prediction for each image, in order, however many there are.

    They are decoded on all cores, a little ahead of the network; nothing that has been yielded is
    held.
    """
    look = partial(load_views, preprocessing=model.preprocessing, max_pixels=max_pixels)
    seen = map_in_order(look, images, available_cores())
    with closing(seen):
        while batch := list(islice(seen, BATCH)):
            views = [one.views for one in batch if one.views is not None]
            rows = zip(*predict_with_confidence(model, views), strict=True)
            for one in batch:
                if one.views is None:
                    yield Prediction(one.name, None, one.error, found=one.found)
                    continue
                row, sure = next(rows)
                sure = float(sure)
                unsure = sure < model.abstain_below
                yield Prediction(
                    one.name, row, None, one.views, one.found, unsure, sure, one.resized
                )


def predict_files(model: TrainedModel, paths: Iterable[Path]) -> Generator[Prediction, None, None]:
    """Yield a prediction for each file, in order."""
    return predict_images(model, (ImageSource(str(path), path) for path in paths))


def predict_views(model: TrainedModel, views: Sequence[NDArray[np.uint8]]) -> Floats:
    """Return (n, classes) float64, see `predict_with_confidence`."""
    return predict_with_confidence(model, views)[0]


def predict_with_confidence(
    model: TrainedModel, views: Sequence[NDArray[np.uint8]]
) -> tuple[Floats, Floats]:
    """Return probabilities, (n, classes) float64, and how sure they are, (n,) float64 in [0, 1].

    Both are of the mean over an image's views, and of their mirror images where the model is made
    for `MIRRORED` ones.

    Args:
        model: what predicts; see `TrainedModel.confidences`.
        views: for each image (views, size, size) uint8, at least one.
    """
    if not views:
        return np.empty((0, len(model.class_names))), np.empty(0)
    seen = np.concatenate(views)
    logits = [predict_logits(model, seen)]
    if model.preprocessing.views in MIRRORED:
        logits.append(predict_logits(model, seen[:, :, ::-1].copy()))
    counts = np.array([len(of_one) for of_one in views])

    def mean_of(each: Sequence[Floats]) -> Floats:
        mean = np.mean(each, axis=0)
        means: Floats = (np.add.reduceat(mean, np.cumsum(counts) - counts).T / counts).T
        return means

    probabilities = mean_of([softmax(one / np.float32(model.temperature)) for one in logits])
    spreads = mean_of([logit_std(one) for one in logits])
    return probabilities, model.confidences(probabilities, spreads)


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


def as_images(inputs: Any, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return (n, size, size) uint8, the first view of each image; see `as_views`."""
    views = as_views(inputs, preprocessing)
    size = preprocessing.image_size
    return np.stack([one[0] for one in views]) if views else np.empty((0, size, size), np.uint8)


def as_views(inputs: Any, preprocessing: Preprocessing) -> list[NDArray[np.uint8]]:
    """Return (views, size, size) uint8 for each image in whatever holds images.

    Args:
        inputs: a path or PIL image, or an array or tensor: (height, width) one grey image,
            (n, height, width), (n, 1, height, width) or (n, height, width, 1) several; uint8 in
            [0, 255] or float in [0, 1]. Or a sequence of any of these.
        preprocessing: of the network. Arrays that already have its size are taken as they are;
            all else goes through its conversion.

    Raises:
        UsageError: the type, shape or range fits none of these.
        ImageError: a file cannot be read.
    """
    if isinstance(inputs, str | Path | Image.Image):
        return [_views(inputs, preprocessing)]
    if isinstance(inputs, torch.Tensor):
        inputs = inputs.detach().cpu()
        inputs = (inputs.float() if inputs.is_floating_point() else inputs).numpy()
    if isinstance(inputs, np.ndarray):
        return _from_array(inputs, preprocessing)
    if isinstance(inputs, Sequence):
        return [views for one in inputs for views in as_views(one, preprocessing)]
    raise UsageError(
        f"images of type {type(inputs).__name__}; give paths, PIL images, arrays or tensors"
    )


def _from_array(array: NDArray[Any], preprocessing: Preprocessing) -> list[NDArray[np.uint8]]:
    shape = array.shape
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 4 and shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 4 and shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 or 0 in array.shape[1:] or array.shape[2] in (1, 3, 4):
        raise UsageError(
            f"an array of shape {shape}; give grey images as (height, width), "
            "(n, height, width) or (n, 1, height, width), colour as PIL images"
        )
    images = _as_uint8(array)
    size = preprocessing.image_size
    if images.shape[1:] == (size, size):
        return list(images[:, None])
    return [compute_views(Image.fromarray(image), preprocessing) for image in images]


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


def _views(image: str | Path | Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    if isinstance(image, Image.Image):
        return compute_views(image, preprocessing)
    return compute_views(
        read_image(Path(image), min_side=required_pixels(preprocessing)), preprocessing
    )
