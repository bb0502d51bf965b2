"""The class `Classifier`: training, prediction and evaluation for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from fashioncnn.api.arguments import as_path, check_callbacks, require_bool, require_text
from fashioncnn.api.arrays import images_to_predict, row_length
from fashioncnn.api.data import (
    dataset_in_memory,
    dataset_to_train_on,
    evaluation_data,
    reject_class_map,
)
from fashioncnn.api.estimator import PARAMETERS, Estimator
from fashioncnn.api.evaluation import Evaluation
from fashioncnn.api.fitted import fitted_by_training, fitted_model, load_fitted
from fashioncnn.api.labels import classes_as_given, sorted_class_names
from fashioncnn.api.messages import python_messages
from fashioncnn.api.parameters import check_names
from fashioncnn.artifacts.model_card import minimal_card
from fashioncnn.artifacts.model_folder import CARD, require_model_folder
from fashioncnn.data.containers import plain_images
from fashioncnn.data.dataset import Split, validated_split
from fashioncnn.data.labels import as_labels, encode_labels
from fashioncnn.environment import require_modules
from fashioncnn.errors import DataError, UsageError
from fashioncnn.inference.arrays import as_views, load_images
from fashioncnn.inference.evaluate import model_metrics, predict_split
from fashioncnn.inference.explain import caption_of, draw_explanation
from fashioncnn.inference.predictor import Prediction
from fashioncnn.loading import BackendChoice, check_backend, loaded_with_torch, save_loaded
from fashioncnn.new_folder import NotVacantError, new_folder

if TYPE_CHECKING:
    from fashioncnn.api.training import Plan
    from fashioncnn.models.trained_model import TrainedModel
    from fashioncnn.training.callbacks import Callback


class Classifier(Estimator):
    """A convolutional classifier of small images, with the protocol of scikit-learn.

    Examples:
        >>> from fashioncnn import Classifier
        >>> classifier = Classifier("honest", epochs=10, optimizer__learning_rate=1e-3)
        >>> classifier.fit(images, labels).predict(more_images)
        array(['boot', 'bag'], dtype='<U4')
        >>> Classifier.train("baseline", data="sketches", epochs=5).predict("shoe.png")
        array([7])

    Args:
        recipe: name of a recipe, or a ``.toml`` file; by default ``baseline``, with `start`
            ``finetune``.
        start: run folder, model folder or bundled model, such as ``"photo"``, whose weights to
            start from; its network and preprocessing are used. Classes may differ.
        network: your own network instead of the recipe's: a `torch.nn.Module`, a class or function
            that returns one, or its name as in ``package.module:Class``.
        callbacks: of the training loop, see `fashioncnn.training.callbacks.Callback`.
        progress: whether training shows a live progress bar on a terminal or in a notebook.
        **settings: any setting: ``epochs``, ``seed``, ``batch_size`` … or with its section, such as
            ``optimizer__learning_rate``; None is the value of the recipe. They are validated by
            `fit` and `set_params`.
    """

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Train on images and labels, and return the classifier.

        The validation split is held out of them as the setting ``validation`` says.

        Args:
            X: (n, size, size), (n, size, size, 1) or (n, size²) array or frame, uint8 in [0, 255]
                or float in [0, 1]; color images as for `predict_proba`; or a sequence or iterator
                of paths, PIL images, contents of image files, or arrays.
            y: (n,) integers or strings.

        Raises:
            ConfigError: a setting is unknown or invalid.
            DataError: images and labels do not match, or cannot be used.
            UsageError: the classifier was loaded, so that its settings are not known.
        """
        require_modules("train")
        from fashioncnn.api.training import carry_out

        with python_messages():
            if self._fitted is not None and self._fitted.loaded:
                raise UsageError(
                    "Classifier.fit: a loaded classifier is not trained further; to start from its "
                    "weights, use Classifier(start=…).fit"
                )
            check_callbacks(self.callbacks, self.progress)
            plan = self._plan().without_test_curve()
            reject_class_map(plan.settings.data)
            images = plain_images(X)
            dataset = dataset_in_memory(images, y, sorted_class_names(y), plan.settings.data)
            result = carry_out(plan, dataset, self.callbacks, progress=self.progress)
        classes = classes_as_given(y, dataset.class_names)
        self._fitted = fitted_by_training(result, dataset, classes, row_length(images))
        return self

    @classmethod
    def train(
        cls,
        recipe: str | Path | None = None,
        *,
        start: str | Path | None = None,
        data: Any = None,
        out: str | Path | None = None,
        network: Any = None,
        callbacks: Sequence[Callback] = (),
        track: str | Sequence[str] = (),
        progress: bool = True,
        **settings: Any,
    ) -> Self:
        """Train with a recipe and return the classifier.

        The number of threads is a state of the whole process, which this method does not change: it
        uses that of PyTorch. ``threads=n`` does not set it but requires it, so that a script which
        is run elsewhere fails instead of giving other sums; call ``torch.set_num_threads(n)``
        before.

        Args:
            recipe: name of a recipe, or a ``.toml`` file; see `Classifier`.
            start: run folder, model folder or bundled model whose weights to start from.
            data: whatever `fashioncnn.load_data` reads, such as a folder, ``"sketches"``, or a pair
                of images and labels; or a `Dataset`. None searches where the command line does.
            out: run folder to write, as with ``fashioncnn train --out``; None writes nothing.
            network: your own network, see `Classifier`.
            callbacks: of the training loop.
            track: as ``--track``: ``"tensorboard:DIR"``, ``"mlflow:URI"``, or a list of both; with
                `out` also ``"tensorboard"`` and ``"mlflow"``.
            progress: whether to show a live progress bar on a terminal or in a notebook.
            **settings: any setting, see `Classifier`.

        Raises:
            ConfigError: a setting is unknown or invalid.
            UsageError: `data` is of an unsupported type, or ``threads`` is not the number of
                threads of the process.
            DataError: the data is missing or damaged.
        """
        require_modules("train")
        from fashioncnn.api.training import carry_out, trackers_for

        own = {"start": start, "network": network, "callbacks": callbacks, "progress": progress}
        classifier = cls(recipe, **own, **settings)
        with python_messages():
            check_callbacks(callbacks, progress)
            folder = None if out is None else as_path("out", out)
            trackers = trackers_for(track, folder)
            source = str(data) if isinstance(data, str | Path) else None
            plan = classifier._plan(source)
            dataset, classes = dataset_to_train_on(data, plan.settings)
            if classes is not None and dataset.test is None:
                plan = plan.without_test_curve()
            result = carry_out(
                plan, dataset, callbacks, progress=progress, out=folder, trackers=trackers
            )
        classifier._fitted = fitted_by_training(result, dataset, classes)
        return classifier

    @classmethod
    @python_messages()
    def load(
        cls,
        path: str | Path,
        device: str = "auto",
        network: Any = None,
        backend: BackendChoice = "auto",
    ) -> Self:
        """Return the classifier of a run folder, model folder, ONNX file or bundled model's name.

        Its `history` is that of the run. With an ONNX file PyTorch is not needed.

        Args:
            path: of the folder or file, or the name.
            device: ``auto``, ``cpu``, ``mps`` or ``cuda``; others than ``cpu`` need PyTorch.
            network: the code of a custom network; nothing is imported that a file names.
            backend: what computes: ``onnx`` is ONNX Runtime, ``torch`` is PyTorch, ``auto`` is
                ``onnx`` if the model has an ONNX file, else ``torch``.

        Raises:
            UsageError: there is no model at `path`, or `network` is missing or not needed.
            ModelError: its files are damaged.
            MissingExtraError: PyTorch is needed and not installed.
        """
        classifier = cls()
        require_text("device", device)
        where = as_path("path", path)
        classifier._fitted = load_fitted(where, device, network, check_backend(backend))
        return classifier

    @python_messages()
    def save(self, path: str | Path) -> None:
        """Write a model folder that `load` reads; a new one appears complete.

        The files of an existing model folder are replaced one after the other; `load` rejects what
        a crash in between leaves.

        Args:
            path: a new or empty folder, or a model folder.

        Raises:
            UsageError: the folder contains other files.
            WriteError: a file cannot be written.
        """
        model = self._require_fitted("save").model
        folder, card = as_path("path", path), minimal_card(model.description)
        try:
            with new_folder(folder, lambda hidden: save_loaded(model, hidden, card), CARD):
                return
        except NotVacantError:
            require_model_folder(folder)
            save_loaded(model, folder, card)

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return the most probable label of each image, (n,), one of `classes_`.

        Args:
            X: see `predict_proba`.
        """
        probabilities = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels

    @python_messages()
    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return probabilities, (n, classes) float64, in the order of `classes_`; rows sum to 1.

        Args:
            X: a path, PIL image, bytes, array, tensor or frame, or a sequence of them; see
                `fashioncnn.inference.arrays.as_views`. Rows of size² pixels are images, too.

        Raises:
            UsageError: a type, shape or value range is not supported.
            ImageError: a file cannot be read.
        """
        views = self._views(X)
        return self._require_fitted("predict").predictor.predict_views(views).probabilities

    @python_messages()
    def predictions(self, images: Any) -> list[Prediction]:
        """Return a prediction per image: label, name, probability, confidence, abstention, views.

        Args:
            images: see `predict_proba`.
        """
        fitted = self._require_fitted("predictions")
        preprocessing = fitted.model.spec.preprocessing
        images = images_to_predict(images, preprocessing.image_size, fitted.features)
        predicted = fitted.predictor.predict_loaded(load_images(images, preprocessing))
        return [
            replace(prediction, label=fitted.classes[cast(int, prediction.label)].item())
            for prediction in predicted
        ]

    @python_messages()
    def explain(self, image: Any, label: Any = None) -> Image:
        """Return the model input of one image beside its class activation map (Grad-CAM).

        Args:
            image: one image, see `predict_proba`.
            label: the class to explain, one of `classes_` or a class name; by default the
                predicted one.

        Raises:
            UsageError: there is not exactly one image.
            DataError: `label` is not a class.
        """
        predictions = self.predictions(image)
        if len(predictions) != 1:
            raise UsageError(f"explain: {len(predictions)} images; give one")
        fitted, (prediction,) = self._require_fitted("explain"), predictions
        probabilities, views = prediction.probabilities, prediction.views
        assert probabilities is not None and views is not None  # noqa: S101 - it was predicted
        names = fitted.model.spec.labels
        code = int(probabilities.argmax())
        if label is not None:
            code = int(encode_labels([label], names, "explain: label")[0])
        abstained = prediction.abstained and label is None
        caption = caption_of(names[code], float(probabilities[code]), abstained=abstained)
        return draw_explanation(fitted.predictor.backend, views, code, caption)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the accuracy, in [0, 1].

        Args:
            X: see `predict_proba`.
            y: (n,) labels, as for `evaluate`; one that the training did not have is a mistake.
            sample_weight: (n,) weights of the images.
        """
        with python_messages():
            fitted = self._require_fitted("score")
            given, predicted = as_labels(y), self.predict_proba(X).argmax(axis=1)
            names = fitted.model.spec.labels
            known = np.array(names) if given.dtype.kind == "U" else _numbers(fitted.classes)
            if len(given) != len(predicted):
                raise DataError(f"score: {len(predicted):,} images but {len(given):,} labels")
            if not len(given):
                raise DataError("score: no images")
            weights = None if sample_weight is None else _weights(sample_weight, len(given))
            if not np.isin(given, known).any():
                encode_labels(given, names)  # raises
        return float(np.average(known[predicted] == given, weights=weights))

    def evaluate(
        self, images: Any = None, labels: Any = None, *, skip_broken: bool = False
    ) -> Evaluation:
        """Return the evaluation, a dictionary of what ``fashioncnn evaluate --json`` prints.

        Args:
            images: as for `predict_proba`, with `labels`; or data as in `train`, of which the test
                split is evaluated. None is Fashion-MNIST.
            labels: (n,) class names, or integers: the labels of the training, see `classes_`.
            skip_broken: leave out image files of the data that cannot be read, with a warning; not
                with `labels`.

        Raises:
            UsageError: labels are missing, or an argument is of an unsupported type.
            DataError: images and labels do not match, or the data does not fit the model.
        """
        fitted = self._require_fitted("evaluate")
        require_bool("skip_broken", skip_broken)
        if labels is not None:
            if skip_broken:
                raise UsageError("skip_broken = True: has no effect on images with labels; omit it")
            logits, split = self._labeled(images, labels)
            name = "arrays"
        else:
            with python_messages():
                dataset, split = evaluation_data(
                    images, fitted.model.spec, fitted.trained_on, skip_broken=skip_broken
                )
            logits, name = predict_split(fitted.predictor, split).logits, dataset.name
        description = fitted.model.description
        metrics = model_metrics(description, logits, split.labels, name, "test")
        return Evaluation(metrics, logits, split, fitted.history)

    def _plan(self, source: str | None = None) -> Plan:
        from fashioncnn.api.training import plan_training

        check_names(self.settings, PARAMETERS)
        return plan_training(self.recipe, self.start, self.network, self.settings, source)

    def _views(self, images: Any) -> list[NDArray[np.uint8]]:
        fitted = self._require_fitted("predict")
        preprocessing = fitted.model.spec.preprocessing
        images = images_to_predict(images, preprocessing.image_size, fitted.features)
        return as_views(images, preprocessing)

    @python_messages()
    def _labeled(self, images: Any, labels: Any) -> tuple[NDArray[np.float32], Split]:
        """Return the logits of labeled images, and the images as a split."""
        fitted = self._require_fitted("evaluate")
        codes = encode_labels(labels, fitted.model.spec.labels)
        views = self._views(images)
        if not views and not len(codes):
            raise DataError("Classifier.evaluate: no images")
        first = np.stack([one[0] for one in views]) if views else np.empty((0, 1, 1), np.uint8)
        split = validated_split(first, codes, len(fitted.classes), "Classifier.evaluate")
        return fitted.predictor.logits(views), split


def classifier_of_model(model: TrainedModel, history: Sequence[dict[str, Any]] = ()) -> Classifier:
    """Return the classifier of a trained model.

    Args:
        model: trained.
        history: one record per epoch.
    """
    classifier = Classifier()
    classifier._fitted = fitted_model(loaded_with_torch(model), history)
    return classifier


def _numbers(classes: NDArray[Any]) -> NDArray[Any]:
    """Return classes that are integers, and the codes of names."""
    return classes if classes.dtype.kind in "iub" else np.arange(len(classes))


def _weights(sample_weight: Any, n: int) -> NDArray[np.float64]:
    """Return weights of `n` images, or raise `DataError`."""
    try:
        weights = np.asarray(sample_weight, np.float64)
    except (TypeError, ValueError):
        raise DataError("score: sample_weight: should be numbers, one per image") from None
    if weights.shape != (n,):
        raise DataError(f"score: sample_weight of shape {weights.shape}: should be ({n},)")
    if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.any()):
        raise DataError("score: sample_weight: should be finite, at least 0, and not all 0")
    return weights
