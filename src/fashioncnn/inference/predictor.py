"""One way from views to predictions, for every command, the Python API and the server.

views → logits (backend) → test-time augmentation → temperature → probabilities, OOD score,
confidence, abstention.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fashioncnn.artifacts.ood import logit_std
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.environment import available_cores
from fashioncnn.evaluation.metrics import softmax
from fashioncnn.images.data_uri import data_uri
from fashioncnn.images.decoding import MAX_PIXELS
from fashioncnn.images.limits import HOW_TO_REDUCE
from fashioncnn.inference.backend import Backend
from fashioncnn.inference.inputs import LoadedImage, load_views, map_in_order
from fashioncnn.inference.sources import ImageSource

BATCH_SIZE = 128
"""Images per batch when predicting a stream."""
PAIRS = frozenset({"Sandal", "Sneaker", "Ankle boot"})
"""Names of classes that come in pairs: two of them are no surprise."""
SMALLEST = np.finfo(np.float64).tiny
"""Probabilities are clipped to it before a logarithm."""

Floats = NDArray[np.float64]
Views = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
"""For each image (views, size, size) uint8, at least one view."""


@dataclass(frozen=True)
class Predictions:
    """Predictions for n images.

    Attributes:
        probabilities: (n, classes), each row sums to 1.
        confidences: (n,) in [0, 1]: the probability of being in distribution where the model has
            an OOD detector (and correct, if that is part of it), else the highest probability.
        abstained: (n,) bool, whether the confidence is below the model's threshold.
        std: (n,) standard deviation of the logits, the input of the OOD detector.
    """

    probabilities: Floats
    confidences: Floats
    abstained: NDArray[np.bool_]
    std: Floats

    def __len__(self) -> int:
        return len(self.probabilities)

    def subset(self, chosen: NDArray[np.bool_]) -> Predictions:
        """Return the predictions for some of the images, (n,) bool."""
        return Predictions(
            self.probabilities[chosen],
            self.confidences[chosen],
            self.abstained[chosen],
            self.std[chosen],
        )


@dataclass(frozen=True)
class Prediction:
    """The prediction for one source.

    Attributes:
        source: name of the file or array.
        probabilities: (classes,) float64; None if the image could not be read.
        error: why it could not be read.
        views: the model input, (views, size, size) uint8.
        found: whether the source exists.
        abstained: whether the confidence is below the model's threshold.
        confidence: in [0, 1], see `Predictions`; None if the image could not be read.
        resized: whether the image had another size than the model input.
        several_garments: whether the photograph shows several garments, of which the largest was
            classified, as none of `PAIRS`.
        label: the most probable class as the user gave the labels, by default its code; None if the
            image could not be read.
        name: of that class.
    """

    source: str
    probabilities: Floats | None
    error: str | None
    views: NDArray[np.uint8] | None = None
    found: bool = True
    abstained: bool = False
    confidence: float | None = None
    resized: bool = False
    several_garments: bool = False
    label: int | str | None = None
    name: str | None = None

    @property
    def probability(self) -> float | None:
        """The probability of the most probable class, in [0, 1]."""
        return None if self.probabilities is None else float(self.probabilities.max())

    def __repr__(self) -> str:
        if self.probability is None:
            return f"Prediction({self.source}: {self.error})"
        abstained = ", abstained" if self.abstained else ""
        return f"Prediction({self.source}: {self.name} {self.probability:.1%}{abstained})"

    def _repr_html_(self) -> str:
        """Return the model input and the prediction, for a notebook."""
        if self.views is None or self.probability is None:
            return f"<div>{escape(self.source)}: {escape(str(self.error))}</div>"
        image = data_uri(np.concatenate(list(self.views), axis=1))
        answer = f"{escape(str(self.name))} {self.probability:.1%}"
        return (
            f'<div><img src="{image}" alt="model input" style="height: 64px; '
            'image-rendering: pixelated; vertical-align: middle"> '
            f"{f'abstained ({answer})' if self.abstained else answer}</div>"
        )


class Predictor:
    """Predicts with a backend, as described by the specification of its model.

    Attributes:
        backend: computes logits.
        spec: of the backend's network.
    """

    def __init__(self, backend: Backend, spec: ModelSpec) -> None:
        self.backend = backend
        self.spec = spec

    def predict_views(self, views: Views) -> Predictions:
        """Return predictions for images given as views.

        Args:
            views: for each image (views, size, size) uint8, at least one view.
        """
        if not len(views):
            return self._predictions(np.empty((0, len(self.spec.labels))), np.empty(0))
        counts = np.array([len(of_image) for of_image in views])
        logits = self.augmented_logits(stack_views(views))
        scaled = logits / np.float32(self.spec.temperature)
        probabilities = _mean_over_views(np.array([softmax(x) for x in scaled]), counts)
        std = _mean_over_views(np.array([logit_std(x) for x in logits]), counts)
        return self._predictions(probabilities, std)

    def predict_images(self, images: NDArray[np.uint8]) -> Predictions:
        """Return predictions for (n, size, size) uint8 images of one view each."""
        return self.predict_views(images[:, None])

    def logits(self, views: Views, predictions: Predictions | None = None) -> NDArray[np.float32]:
        """Return (n, classes) float32 logits whose softmax at the model's temperature predicts.

        With one view and no test-time augmentation these are the network's own; else they are the
        temperature times the log of the averaged probabilities.

        Args:
            views: as for `predict_views`.
            predictions: for the same images, if they are known; with several views they take most
                of the time.
        """
        single = len(views) and all(len(of_image) == 1 for of_image in views)
        if self.spec.tta == "none" and single:
            return self.backend.logits(stack_views(views))
        if predictions is None:
            predictions = self.predict_views(views)
        return self.to_logits(predictions.probabilities)

    def to_logits(self, probabilities: Floats) -> NDArray[np.float32]:
        """Return logits whose softmax at the model's temperature is `probabilities`.

        Both are (n, classes), the logits float32.
        """
        logits = self.spec.temperature * np.log(np.maximum(probabilities, SMALLEST))
        return logits.astype(np.float32)

    def predict_sources(
        self,
        sources: Iterable[ImageSource],
        max_pixels: int = MAX_PIXELS,
        remedy: str = HOW_TO_REDUCE,
        threads: int | None = None,
    ) -> Generator[Prediction, None, None]:
        """Yield a prediction for each source, in order; the stream may be endless.

        Images are decoded by threads, a little ahead of the network. Predictions that were yielded
        are not kept.

        Args:
            sources: of the images.
            max_pixels: limit on the pixels of a decoded image.
            remedy: what a message about an image over the limit says to do.
            threads: that decode; by default one per available core.
        """
        load = partial(
            load_views,
            preprocessing=self.spec.preprocessing,
            max_pixels=max_pixels,
            remedy=remedy,
        )
        loaded_images = map_in_order(load, sources, threads or available_cores())
        with closing(loaded_images):
            while batch := list(islice(loaded_images, BATCH_SIZE)):
                yield from self.predict_loaded(batch)

    def predict_loaded(self, images: Sequence[LoadedImage]) -> list[Prediction]:
        """Return predictions for images whose views are computed, in one batch.

        Args:
            images: an image that could not be read gets a prediction with its error.
        """
        predictions = self.predict_views([x.views for x in images if x.views is not None])
        rows = iter(range(len(predictions)))
        return [
            Prediction(loaded.name, None, loaded.error, found=loaded.found)
            if loaded.views is None
            else self._prediction(loaded, predictions, next(rows))
            for loaded in images
        ]

    def predict_files(self, paths: Iterable[Path]) -> Generator[Prediction, None, None]:
        """Yield a prediction for each image file, in order."""
        return self.predict_sources(ImageSource(str(path), path) for path in paths)

    def augmented_logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return logits for each test-time augmentation, (augmentations, n, classes) float32.

        Args:
            images: (n, size, size) uint8.
        """
        logits = [self.backend.logits(images)]
        if self.spec.tta == "flip":
            logits.append(self.backend.logits(np.ascontiguousarray(images[:, :, ::-1])))
        return np.stack(logits)

    def _prediction(self, loaded: LoadedImage, predictions: Predictions, row: int) -> Prediction:
        probabilities = predictions.probabilities[row]
        code = int(probabilities.argmax())
        return Prediction(
            source=loaded.name,
            probabilities=probabilities,
            error=None,
            views=loaded.views,
            abstained=bool(predictions.abstained[row]),
            confidence=float(predictions.confidences[row]),
            resized=loaded.resized,
            several_garments=loaded.several_garments and self.spec.labels[code] not in PAIRS,
            label=code,
            name=self.spec.labels[code],
        )

    def _predictions(self, probabilities: Floats, std: Floats) -> Predictions:
        detector = self.spec.ood_detector
        if detector is not None:
            confidences = detector.probability(std, probabilities.max(axis=1, initial=SMALLEST))
        else:
            confidences = probabilities.max(axis=1, initial=0.0)
        return Predictions(probabilities, confidences, confidences < self.spec.abstain_below, std)


def stack_views(views: Views) -> NDArray[np.uint8]:
    """Return the views of all images, (n, size, size)."""
    if isinstance(views, np.ndarray):
        return views.reshape(-1, *views.shape[2:])
    return np.concatenate(views)


def _mean_over_views(values: Floats, counts: NDArray[np.int64]) -> Floats:
    """Return the mean over augmentations and over the views of each image.

    Args:
        values: (augmentations, all views, ...).
        counts: (n,) views of each image.

    Returns:
        (n, ...).
    """
    mean = values.mean(axis=0)
    sums = np.add.reduceat(mean, np.cumsum(counts) - counts)
    means: Floats = (sums.T / counts).T
    return means
