"""Temperature, OOD detector and abstention threshold, fitted on the prediction path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fashioncnn.artifacts.ood import OODDetector
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.augmentation.fashion import create_augmentation
from fashioncnn.config import override
from fashioncnn.data.dataset import Split
from fashioncnn.evaluation.calibration import (
    fit_abstention_threshold,
    fit_confidence,
    fit_ood_detector,
    fit_temperature,
)
from fashioncnn.inference.predictor import Predictions, Predictor, Views, stack_views
from fashioncnn.models.backend import to_tensor
from fashioncnn.settings import AugmentationConfig, Settings

ALMOST_ALL = math.nextafter(1.0, 0.0)
"""A fraction of images that excludes none."""
BATCH_SIZE = 500


def needs_cross_validation(settings: Settings) -> bool:
    """Return whether a model is calibrated by cross-validation.

    Args:
        settings: resolved.
    """
    training = settings.training
    is_fitted = "auto" in (training.temperature, training.abstain_below)
    return is_fitted and training.calibration_folds > 0 and int(settings.data.validation) == 0


def training_lengths(settings: Settings, n: int) -> list[int]:
    """Return how many images networks are trained on: all `n`, and those outside of each fold.

    Args:
        settings: see `needs_cross_validation`.
        n: images to train on.
    """
    if not needs_cross_validation(settings):
        return [n]
    folds = number_of_folds(settings, n)
    return sorted({n, n - n // folds, n - math.ceil(n / folds)}, reverse=True)


def number_of_folds(settings: Settings, n: int) -> int:
    """Return into how many folds `n` images are divided."""
    return min(settings.training.calibration_folds, n)


def fold_settings(settings: Settings) -> Settings:
    """Return the settings with which the folds of a cross-validation are trained."""
    values = {
        "data.validation": 0,
        "data.fold": None,
        "data.fraction": 1.0,
        "data.label_noise": 0.0,
        "training.calibration_folds": 0,
        "training.patience": 0,
        "training.select": "last",
        "training.temperature": 1.0,
        "training.abstain_below": 0.0,
        "training.track_test": False,
    }
    return override(settings, values)


@dataclass(frozen=True)
class HeldOut:
    """Images with a model that was not trained on them.

    Attributes:
        predictor: of the model.
        split: of the images, at least one.
    """

    predictor: Predictor
    split: Split

    def predict(self, views: Views, spec: ModelSpec) -> Predictions:
        """Return predictions with the fitted values of `spec`."""
        return Predictor(self.predictor.backend, spec).predict_views(views)


def calibrate(
    predictor: Predictor,
    settings: Settings,
    validation: Split | None,
    device: torch.device,
    folds: Sequence[HeldOut] = (),
) -> ModelSpec:
    """Return the specification of a model with everything fitted.

    A model that was trained on images rendered as photographs is calibrated on held-out images
    rendered likewise; with outlier exposure, an OOD detector is fitted, too. Otherwise one is
    fitted where images outside of the classes were held out.

    Args:
        predictor: of the model, after training.
        settings: of the run.
        validation: held out, or None.
        device: to render images on.
        folds: without a validation split, each fold of a cross-validation with the model of the
            others. If there are none, ``auto`` is a temperature of 1 and no abstention.
    """
    training, spec = settings.training, predictor.spec
    held_out = list(folds) if validation is None else [HeldOut(predictor, validation)]
    temperature, threshold = training.temperature, training.abstain_below
    outside = [HeldOut(one.predictor, one.split.outside_classes()) for one in held_out]
    held_out = [HeldOut(one.predictor, one.split.within_classes()) for one in held_out]
    held_out = [one for one in held_out if len(one.split)]  # a fold may have outliers only
    if not held_out:
        return spec.replace(
            temperature=1.0 if temperature == "auto" else temperature,
            abstain_below=0.0 if threshold == "auto" else threshold,
        )
    views: list[Views] = [one.split.all_views for one in held_out]
    if settings.data_augmentation.photograph > 0:
        views = [_render(settings, one.split, spec, device, outliers=False) for one in held_out]
        if settings.data_augmentation.outlier_exposure > 0:
            outliers = [_render(settings, o.split, spec, device, outliers=True) for o in held_out]
            detector = fit_ood_detector(
                _stds(held_out, views, spec), _stds(held_out, outliers, spec)
            )
            spec = spec.replace(ood_detector=detector)
    labels = _labels(held_out, views, spec)
    if temperature == "auto":
        temperature = _fit_temperature(held_out, views, labels)
    spec = spec.replace(temperature=temperature)
    if spec.ood_detector is None and any(len(one.split) for one in outside):
        spec = spec.replace(ood_detector=_fit_confidence(held_out, outside, labels, spec))
    if threshold == "auto":
        predictions = [one.predict(v, spec) for one, v in zip(held_out, views, strict=True)]
        predicted = np.concatenate([p.probabilities.argmax(axis=1) for p in predictions])
        confidences = np.concatenate([p.confidences for p in predictions])
        threshold = fit_abstention_threshold(confidences, predicted == labels)
    return spec.replace(abstain_below=threshold)


def _labels(
    held_out: Sequence[HeldOut], views: Sequence[Views], spec: ModelSpec
) -> NDArray[np.uint8]:
    """Return the label of each image; of several that are correct, the most probable, (n,)."""
    return np.concatenate(
        [
            one.split.labels
            if one.split.allowed is None
            else one.split.correct_labels(one.predict(v, spec).probabilities)
            for one, v in zip(held_out, views, strict=True)
        ]
    )


def _fit_temperature(
    held_out: Sequence[HeldOut], views: Sequence[Views], labels: NDArray[np.uint8]
) -> float:
    logits = [
        one.predictor.augmented_logits(stack_views(v))
        for one, v in zip(held_out, views, strict=True)
    ]
    counts = np.array([len(of_image) for v in views for of_image in v])
    has_several = bool((counts > 1).any())
    return fit_temperature(np.concatenate(logits, 1), labels, counts if has_several else None)


def _fit_confidence(
    inside: Sequence[HeldOut],
    outside: Sequence[HeldOut],
    labels: NDArray[np.uint8],
    spec: ModelSpec,
) -> OODDetector:
    """Return the detector for images of the classes, with these labels, and images of none."""
    images = [one for one in (*inside, *outside) if len(one.split)]
    predictions = [one.predict(one.split.all_views, spec) for one in images]
    probabilities = np.concatenate([p.probabilities for p in predictions])
    is_outside = np.arange(len(probabilities)) >= len(labels)
    correct = np.zeros(len(probabilities), bool)
    correct[: len(labels)] = probabilities[: len(labels)].argmax(axis=1) == labels
    std = np.concatenate([p.std for p in predictions])
    return fit_confidence(std, probabilities.max(axis=1), correct, is_outside)


def _stds(
    held_out: Sequence[HeldOut], views: Sequence[Views], spec: ModelSpec
) -> NDArray[np.float64]:
    """Return the logit standard deviation of each image, averaged as in predictions, (n,)."""
    return np.concatenate([o.predict(v, spec).std for o, v in zip(held_out, views, strict=True)])


def _render(
    settings: Settings, split: Split, spec: ModelSpec, device: torch.device, *, outliers: bool
) -> NDArray[np.uint8]:
    """Return the images as training renders photographs, or outliers in their place.

    Each has one view, (n, 1, size, size). Random values are those of the first two epochs after the
    training.
    """
    config = AugmentationConfig(photograph=1.0, outlier_exposure=ALMOST_ALL if outliers else 0.0)
    augmentation = create_augmentation(
        config, split.labels, spec.labels, settings.training.seed, device
    )
    assert augmentation is not None  # noqa: S101 - for the type checker
    images = to_tensor(split.images, device)
    epoch = int(settings.training.epochs) + int(outliers)
    rendered = [
        augmentation(images[indices], indices, epoch).round().to(torch.uint8)
        for indices in torch.split(torch.arange(len(images), device=device), BATCH_SIZE)
    ]
    array: NDArray[np.uint8] = torch.cat(rendered).cpu().numpy()
    return array
