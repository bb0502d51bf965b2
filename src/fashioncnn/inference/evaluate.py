"""Evaluation of a model on a split, from stored predictions while they are valid."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fashioncnn.artifacts.model_folder import ModelDescription
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.training_data import hold_out
from fashioncnn.errors import DataError, UsageError
from fashioncnn.evaluation.metrics import Labels, Logits, compute_metrics
from fashioncnn.evaluation.predictions import (
    SplitPredictions,
    load_predictions,
    save_predictions,
)
from fashioncnn.evaluation.selective import accuracy_at_coverage, auroc
from fashioncnn.inference.predictor import Predictions, Predictor
from fashioncnn.runs import RunFolder
from fashioncnn.settings import Settings


def evaluate_split(
    predictor: Predictor,
    description: ModelDescription,
    dataset: Dataset,
    split: Split,
    name: str,
    *,
    run: RunFolder | None = None,
    precision: str = "fp32",
    predictions: Predictions | None = None,
) -> dict[str, Any]:
    """Return the metrics of a model on one split.

    Of several correct classes of an image, the most probable is its label; see
    `partial_label_metrics`. Images outside of the classes do not count.

    Args:
        predictor: of the model.
        description: of the model.
        dataset: that contains `split`.
        split: to evaluate on.
        name: ``validation`` or ``test``.
        run: its stored predictions are used while model and images are the same, and updated
            otherwise.
        precision: of the predictor.
        predictions: of all images of the split, if they are known.

    Raises:
        DataError: see `check_split`.
    """
    check_split(predictor.spec, dataset, split, name)
    if predictions is not None:
        predictions = predictions.subset(split.in_classes)
    split = split.within_classes()
    evaluated = _predictions(
        predictor, description.sha256, split, name, run, precision, predictions
    )
    logits, labels, data_name = evaluated.logits, evaluated.labels, dataset.name_of(name)
    metrics = model_metrics(description, logits, labels, data_name, name)
    return {**metrics, **partial_label_metrics(split, evaluated, description.labels)}


def check_split(spec: ModelSpec, dataset: Dataset, split: Split, name: str) -> None:
    """Raise `DataError` if a model cannot be evaluated on a split.

    The data has other classes or another image size than the model, or no image of its classes.
    """
    check_compatible(spec, dataset)
    if not split.in_classes.any():
        raise DataError(
            f"{dataset.source}: no image of the {name} split belongs to a class of the model; map "
            "at least one class of the data to one of the model's"
        )


def partial_label_metrics(
    split: Split, predictions: SplitPredictions, names: Sequence[str]
) -> dict[str, Any]:
    """Return the metrics of images with several correct classes; none if there are no such labels.

    The label of such an image is chosen by the model, so that the accuracy of a single class says
    little about it: ``per_label_set`` has that of each set of classes.

    Args:
        split: images of the classes.
        predictions: for them.
        names: of the classes, by label.
    """
    if split.allowed is None:
        return {}
    partial = int((split.allowed.sum(axis=1) > 1).sum())
    metrics: dict[str, Any] = {"partial_labels": partial}
    if not partial:
        return metrics
    correct = predictions.logits.argmax(axis=1) == predictions.labels
    rows = []
    for stratum in np.unique(split.strata):
        of_set = split.strata == stratum
        codes: list[int] = np.flatnonzero(split.allowed[of_set][0]).tolist()
        n, hits = int(of_set.sum()), int(correct[of_set].sum())
        rows.append(
            {
                "codes": codes,
                "names": [names[code] for code in codes],
                "n": n,
                "correct": hits,
                "accuracy": hits / n,
                "errors": n - hits,
            }
        )
    return {**metrics, "per_label_set": sorted(rows, key=lambda row: row["codes"])}


def confidence_metrics(
    predictions: Predictions, split: Split, abstain_below: float
) -> dict[str, Any]:
    """Return how well the confidence of a model tells correct answers from others.

    Args:
        predictions: of all images of the split.
        split: with at least one image of the classes.
        abstain_below: the model's threshold.

    Returns:
        ``macro_accuracy`` over the sets of correct classes, ``coverage`` (see
        `fashioncnn.evaluation.selective.accuracy_at_coverage`), ``abstained`` images of the
        classes, ``answered_accuracy`` on the others (None if all are), and ``outside``: number,
        abstentions and ``auroc`` of images outside of the classes, None without any.
    """
    inside, confidences = split.in_classes, predictions.confidences
    labels = split.correct_labels(predictions.probabilities)
    correct = (predictions.probabilities.argmax(axis=1) == labels)[inside]
    strata = split.strata[inside]
    answered = ~predictions.abstained[inside]
    outside = None
    if not inside.all():
        outside = {
            "n": int((~inside).sum()),
            "abstained": int(predictions.abstained[~inside].sum()),
            "auroc": auroc(confidences[inside], confidences[~inside]),
        }
    return {
        "macro_accuracy": float(np.mean([correct[strata == s].mean() for s in np.unique(strata)])),
        "coverage": accuracy_at_coverage(confidences[inside], correct),
        "abstained": int((~answered).sum()),
        "answered_accuracy": float(correct[answered].mean()) if answered.any() else None,
        "abstain_below": abstain_below,
        "outside": outside,
    }


def predict_split(
    predictor: Predictor, split: Split, predictions: Predictions | None = None
) -> SplitPredictions:
    """Return the predictions for the images of a split.

    Args:
        predictor: of the model.
        split: of the images.
        predictions: for them, if they are known.
    """
    logits = predictor.logits(split.all_views, predictions)
    return SplitPredictions(logits, split.correct_labels(logits), split.indices)


def model_metrics(
    description: ModelDescription, logits: Logits, labels: Labels, dataset: str, split: str
) -> dict[str, Any]:
    """Return the metrics of a model's logits.

    Args:
        description: of the model.
        logits: (n, classes) float32.
        labels: (n,) uint8.
        dataset: name of the dataset.
        split: ``validation`` or ``test``.
    """
    return compute_metrics(
        logits,
        labels,
        description.labels,
        dataset=dataset,
        split=split,
        parameters=description.parameters,
        multiply_adds=description.multiply_adds,
        temperature=description.temperature,
    )


def _predictions(
    predictor: Predictor,
    model_sha256: str,
    split: Split,
    name: str,
    run: RunFolder | None,
    precision: str,
    known: Predictions | None,
) -> SplitPredictions:
    identity = {"model_sha256": model_sha256, "precision": precision}
    split_identity = {f"{name}_sha256": split.sha256}
    stored, stored_identity = load_predictions(run.predictions) if run else ({}, {})
    same_model = identity.items() <= stored_identity.items()
    if same_model and name in stored and split_identity.items() <= stored_identity.items():
        return stored[name]
    predictions = predict_split(predictor, split, known)
    if run is not None:
        other = stored if same_model else {}
        other_identity = stored_identity if same_model else {}
        save_predictions(
            run.predictions,
            {**other, name: predictions},
            {**other_identity, **identity, **split_identity},
        )
    return predictions


def check_compatible(spec: ModelSpec, dataset: Dataset) -> None:
    """Raise `DataError` if a model cannot be evaluated on the data."""
    if dataset.class_names != spec.labels:
        raise DataError(
            f"{dataset.source}: its classes ({', '.join(dataset.class_names[:3])} …) differ from "
            f"the model's ({', '.join(spec.labels[:3])} …)"
        )
    if dataset.channels != spec.preprocessing.channels:
        raise DataError(
            f"{dataset.source}: images of {dataset.channels} channels, but the model needs "
            f"{spec.preprocessing.channels}"
        )
    size = dataset.train.images.shape[1]
    if size != spec.preprocessing.image_size:
        expected = spec.preprocessing.image_size
        raise DataError(
            f"{dataset.source}: images of {size}×{size}, but the model needs {expected}×{expected}"
        )


def evaluation_splits(dataset: Dataset, settings: Settings | None) -> dict[str, Split]:
    """Return the splits that can be evaluated: ``test``, and ``validation`` as a run held it out.

    A validation split of the source is used as it is.

    Args:
        dataset: may be other data than that of the run, and too small for its validation split.
        settings: of the run, if there is one.
    """
    splits = {} if dataset.test is None else {"test": dataset.test}
    if dataset.validation is not None:
        splits["validation"] = dataset.validation
    elif settings is not None:
        with contextlib.suppress(UsageError):
            validation = hold_out(dataset, settings.data)[1]
            if validation is not None:
                splits["validation"] = validation
    return splits
