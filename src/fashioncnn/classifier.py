"""The Python API: one class for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.artifacts.model_card import minimal_card
from fashioncnn.artifacts.model_folder import CARD
from fashioncnn.config import FLAGS, kernels_from_environment, resolve
from fashioncnn.data.dataset import Dataset, validated_split
from fashioncnn.data.load import load_dataset
from fashioncnn.data.options import load_arguments
from fashioncnn.devices import resolve_device, resolve_kernels
from fashioncnn.errors import UsageError, nearest
from fashioncnn.inference.arrays import as_views
from fashioncnn.inference.evaluate import evaluate_split, evaluation_splits, model_metrics
from fashioncnn.models.backend import torch_predictor
from fashioncnn.models.trained_model import TrainedModel, load_model, save_model
from fashioncnn.new_folder import NotVacantError, new_folder
from fashioncnn.reporting.report import write_run_report
from fashioncnn.runs import new_run
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model, write_start


class Classifier:
    """A trained classifier of small grey images.

    >>> from fashioncnn import Classifier
    >>> classifier = Classifier.train("baseline", data="sketches", epochs=5)
    >>> classifier.predict("shoe.png")
    array([7])

    Attributes:
        class_names: by label.
        history: one record per epoch of the training; empty for a loaded model.
    """

    def __init__(self, model: TrainedModel, history: list[dict[str, Any]] | None = None) -> None:
        self._model = model
        self._predictor = torch_predictor(model)
        self.class_names = model.spec.labels
        self.history = history or []

    @classmethod
    def train(
        cls,
        recipe: str = "baseline",
        *,
        data: str | Path | Dataset | None = None,
        out: str | Path | None = None,
        callbacks: Sequence[Callback] = (),
        **settings: Any,
    ) -> Classifier:
        """Train with a recipe and return the classifier.

        The number of threads is a state of the whole process, which this method does not change: it
        uses that of PyTorch. ``threads=n`` does not set it but requires it, so that a script which
        is run elsewhere fails instead of giving other sums; call ``torch.set_num_threads(n)``
        before.

        Args:
            recipe: name of a recipe, or a ``.toml`` file.
            data: a folder, ``"sketches"``, or a `Dataset`; None searches where the command line
                does.
            out: run folder to write, as with ``fashioncnn train --out``; None writes nothing.
            callbacks: of the training loop.
            **settings: the flags of ``fashioncnn train``: ``epochs``, ``seed``, ``device`` …

        Raises:
            ConfigError: a setting is unknown or invalid.
            UsageError: ``threads`` is not the number of threads of the process.
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
            dataset = load_dataset(resolved.data.source, **load_arguments(resolved.data))
        resolved = prepare_settings(resolved, dataset)
        if out is None:
            result = train_model(resolved, dataset, callbacks=callbacks)
            return cls(result.model, result.history)
        with new_run(Path(out), resolved, lambda run: write_start(run, resolved, dataset)) as run:
            result = train_model(resolved, dataset, run=run, callbacks=callbacks)
            write_run_report(run, evaluation_splits(dataset, resolved))
        for callback in callbacks:
            callback.on_artifacts(run)
        return cls(result.model, result.history)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Classifier:
        """Return the classifier of a run folder, a model folder, or a bundled model's name.

        Raises:
            UsageError: there is no model at `path`.
            ModelError: its files are damaged.
        """
        place = resolve_device(device)
        kernels = resolve_kernels(kernels_from_environment(), place)
        return cls(load_model(Path(path), place, kernels))

    def save(self, path: str | Path) -> None:
        """Write a model folder that `load` reads; a new one appears complete.

        The files of an existing model folder are replaced one after the other; `load` rejects what
        a crash in between leaves.

        Raises:
            WriteError: a file cannot be written.
        """
        folder, card = Path(path), minimal_card(self._model.describe())
        try:
            with new_folder(folder, lambda hidden: save_model(self._model, hidden, card), CARD):
                return
        except NotVacantError:
            save_model(self._model, folder, card)

    def predict(self, images: Any) -> NDArray[np.int64]:
        """Return the most probable label of each image, (n,) int64.

        Args:
            images: see `predict_proba`.
        """
        labels: NDArray[np.int64] = self.predict_proba(images).argmax(axis=1)
        return labels

    def predict_proba(self, images: Any) -> NDArray[np.float64]:
        """Return probabilities, (n, classes) float64; each row sums to 1.

        Args:
            images: a path, PIL image, array or tensor, or a sequence of them; see
                `fashioncnn.inference.arrays.as_views`.

        Raises:
            UsageError: a type, shape or value range is not supported.
            ImageError: a file cannot be read.
        """
        views = as_views(images, self._model.spec.preprocessing)
        return self._predictor.predict_views(views).probabilities

    def evaluate(self, images: Any = None, labels: Any = None) -> dict[str, Any]:
        """Return the metrics, as ``fashioncnn evaluate --json`` prints them.

        Args:
            images: as for `predict_proba`, with `labels`; or data as in `train`, of which the test
                split is evaluated. None is Fashion-MNIST.
            labels: (n,) integers.
        """
        description = self._model.describe()
        if labels is None:
            if not (images is None or isinstance(images, str | Path | Dataset)):
                raise UsageError("Classifier.evaluate: labels are missing")
            dataset = images if isinstance(images, Dataset) else _load(images, self._model)
            split = dataset.require_test()
            return evaluate_split(self._predictor, description, dataset, split, "test")
        views = as_views(images, self._model.spec.preprocessing)
        first = np.stack([one[0] for one in views]) if views else np.empty((0, 1, 1), np.uint8)
        split = validated_split(
            first, _as_labels(labels), len(self.class_names), "Classifier.evaluate"
        )
        logits = self._predictor.logits(views)
        return model_metrics(description, logits, split.labels, "arrays", "test")

    def __repr__(self) -> str:
        return (
            f"Classifier({self._model.spec.architecture.name}, {self._model.parameters:,} "
            f"parameters, trained on {self._model.spec.dataset})"
        )


def _load(source: str | Path | None, model: TrainedModel) -> Dataset:
    resolved = resolve(flags={"data": None if source is None else str(source)})
    preprocessing = model.spec.preprocessing
    return load_dataset(
        resolved.data.source,
        image_size=preprocessing.image_size,
        views=preprocessing.views,
        channels=preprocessing.channels,
    )


def _as_labels(labels: Any) -> NDArray[np.uint8]:
    values = np.asarray(labels)
    valid = values.ndim == 1 and np.issubdtype(values.dtype, np.integer) and values.size
    if not valid or values.min() < 0 or values.max() > 255:
        raise UsageError(
            f"labels of shape {values.shape} and type {values.dtype}: should be (n,) integers from "
            "0 up"
        )
    return values.astype(np.uint8)
