"""The Python face: one class, for notebooks and scripts."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.config import FLAGS, resolve
from fashioncnn.data.dataset import Dataset, validated_split
from fashioncnn.data.load import load_dataset
from fashioncnn.errors import UsageError, nearest
from fashioncnn.evaluation.evaluate import compute_model_metrics, evaluate_model, evaluation_splits
from fashioncnn.inference.predictor import as_views, predict_views
from fashioncnn.models.trained_model import TrainedModel, load_model, save_model
from fashioncnn.reporting.report import write_run_report
from fashioncnn.runs import create_run
from fashioncnn.runtime import prepare_prediction
from fashioncnn.training.callbacks import Observer
from fashioncnn.training.model_card import plain_card
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model

SMALLEST = np.finfo(np.float64).tiny
"""Probabilities under it, of which there is no logarithm, are taken for it."""


class Classifier:
    """A trained classifier of small grey images.

    >>> from fashioncnn import Classifier
    >>> classifier = Classifier.train("baseline", data="sketches", epochs=5)
    >>> classifier.predict("shoe.png")
    array([7])

    Attributes:
        class_names: by label.
        history: a record for each epoch of its training; empty where it was loaded.
    """

    def __init__(self, model: TrainedModel, history: list[dict[str, Any]] | None = None) -> None:
        self._model = model
        self.class_names = model.class_names
        self.history = history or []

    @classmethod
    def train(
        cls,
        recipe: str = "baseline",
        *,
        data: str | Path | Dataset | None = None,
        out: str | Path | None = None,
        observer: Observer | None = None,
        **settings: Any,
    ) -> Classifier:
        """Train by a recipe and return the classifier.

        Args:
            recipe: name of a recipe, or a ``.toml`` file.
            data: a folder, ``"sketches"``, or a `Dataset`; None looks where the command line
                does.
            out: run folder to write, as ``fashioncnn train --out``; None writes nothing.
            observer: told about every step and epoch.
            **settings: as the flags of ``fashioncnn train``: ``epochs``, ``seed``, ``device`` …

        Raises:
            ConfigError: a setting is unknown or wrong.
            DataError: the data is missing or damaged.
        """
        unknown = [name for name in settings if name not in FLAGS]
        if unknown:
            hint = nearest(unknown[0], FLAGS)
            raise UsageError(f"Classifier.train: no setting '{unknown[0]}'{hint}")
        source = str(data) if isinstance(data, str | Path) else None
        resolved = resolve(recipe, flags={**settings, "data": source})
        if isinstance(data, Dataset):
            dataset = data
        else:
            dataset = load_dataset(resolved.data.source, image_size=resolved.data.image_size)
        resolved = prepare_settings(resolved, dataset)
        run = None if out is None else create_run(Path(out), resolved)
        with run.lock() if run else nullcontext():
            result = train_model(resolved, dataset, run=run, observer=observer)
        if run is not None:
            write_run_report(run, evaluation_splits(dataset, resolved))
        return cls(result.model, result.history)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Classifier:
        """Return the classifier of a run or model folder.

        Raises:
            UsageError: there is none at `path`.
            ModelError: its files are damaged.
        """
        return cls(load_model(Path(path), prepare_prediction(device)))

    def save(self, path: str | Path) -> None:
        """Write a model folder that `load` reads; files that are there are replaced."""
        save_model(self._model, Path(path), plain_card(self._model))

    def predict(self, images: Any) -> NDArray[np.int64]:
        """Return the likeliest label of each image, (n,) int64.

        Args:
            images: see `predict_proba`.
        """
        labels: NDArray[np.int64] = self.predict_proba(images).argmax(axis=1)
        return labels

    def predict_proba(self, images: Any) -> NDArray[np.float64]:
        """Return probabilities, (n, classes) float64, each row summing to 1.

        Args:
            images: a path, PIL image, array or tensor, or a sequence of them. Arrays are
                (height, width), (n, height, width), (n, 1, height, width) or
                (n, height, width, 1), uint8 in [0, 255] or float in [0, 1].

        Raises:
            UsageError: an array's shape or range fits none of these.
            ImageError: a file cannot be read.
        """
        return predict_views(self._model, as_views(images, self._model.preprocessing))

    def evaluate(self, images: Any = None, labels: Any = None) -> dict[str, Any]:
        """Return the judgement, as ``fashioncnn evaluate --json`` prints it.

        Args:
            images: as for `predict_proba`, with `labels`, and judged by what that returns; or the
                name of data as in `train`, whose test part is judged. None is Fashion-MNIST.
            labels: (n,) integers.
        """
        if labels is None:
            if not (images is None or isinstance(images, str | Path | Dataset)):
                raise UsageError("Classifier.evaluate: images need labels beside them")
            dataset = images if isinstance(images, Dataset) else _load(images, self._model)
            return evaluate_model(self._model, dataset, dataset.require_test(), "test")
        views = as_views(images, self._model.preprocessing)
        codes = _as_labels(labels)
        first = np.stack([one[0] for one in views]) if views else np.empty((0, 1, 1), np.uint8)
        part = validated_split(first, codes, len(self.class_names), "Classifier.evaluate")
        # Logits whose calibrated probabilities are those: the mean over an image's views.
        probabilities = predict_views(self._model, views)
        logits = self._model.temperature * np.log(np.maximum(probabilities, SMALLEST))
        return compute_model_metrics(
            self._model, logits.astype(np.float32), part.labels, "arrays", "test"
        )

    def __repr__(self) -> str:
        return (
            f"Classifier({self._model.config.name}, {self._model.parameters:,} parameters, "
            f"learnt from {self._model.dataset})"
        )


def _load(source: str | Path | None, model: TrainedModel) -> Dataset:
    resolved = resolve(flags={"data": None if source is None else str(source)})
    return load_dataset(resolved.data.source, image_size=model.preprocessing.image_size)


def _as_labels(labels: Any) -> NDArray[np.uint8]:
    values = np.asarray(labels)
    whole = values.ndim == 1 and np.issubdtype(values.dtype, np.integer) and values.size
    if not whole or values.min() < 0 or values.max() > 255:
        raise UsageError(
            f"labels of shape {values.shape} and type {values.dtype}; give (n,) integers from 0 up"
        )
    return values.astype(np.uint8)
