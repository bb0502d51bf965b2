"""Temperature, OOD detector and abstention threshold, fitted on the prediction path."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from fashioncnn.artifacts.ood import logit_std
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.augmentation.fashion import create_augmentation
from fashioncnn.data.dataset import Split
from fashioncnn.evaluation.calibration import (
    fit_abstention_threshold,
    fit_ood_detector,
    fit_temperature,
)
from fashioncnn.inference.predictor import Predictor
from fashioncnn.models.backend import to_tensor
from fashioncnn.settings import AugmentationConfig, Settings

ALMOST_ALL = math.nextafter(1.0, 0.0)
"""A fraction of images that excludes none."""
BATCH_SIZE = 500


def calibrate(
    predictor: Predictor, settings: Settings, validation: Split | None, device: torch.device
) -> ModelSpec:
    """Return the specification of a predictor's model with everything fitted.

    A model that was trained on images rendered as photographs is calibrated on the validation split
    rendered likewise; with outlier exposure, an OOD detector is fitted, too.

    Args:
        predictor: after training.
        settings: of the run.
        validation: held out, or None: then ``auto`` is a temperature of 1 and no abstention.
        device: to render images on.
    """
    training, spec = settings.training, predictor.spec
    temperature, threshold = training.temperature, training.abstain_below
    if validation is None:
        return spec.replace(
            temperature=1.0 if temperature == "auto" else temperature,
            abstain_below=0.0 if threshold == "auto" else threshold,
        )
    images = validation.images
    if settings.augmentation.photograph > 0:
        images = _render(settings, validation, spec, device, outliers=False)
        if settings.augmentation.outlier_exposure > 0:
            outliers = _render(settings, validation, spec, device, outliers=True)
            detector = fit_ood_detector(_std(predictor, images), _std(predictor, outliers))
            spec = spec.replace(ood_detector=detector)
    if temperature == "auto":
        temperature = fit_temperature(predictor.augmented_logits(images), validation.labels)
    spec = spec.replace(temperature=temperature)
    if threshold == "auto":
        predictions = Predictor(predictor.backend, spec).predict_images(images)
        correct = predictions.probabilities.argmax(axis=1) == validation.labels
        threshold = fit_abstention_threshold(predictions.confidences, correct)
    return spec.replace(abstain_below=threshold)


def _std(predictor: Predictor, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the logit standard deviation, averaged over test-time augmentation, (n,)."""
    stds = [logit_std(logits) for logits in predictor.augmented_logits(images)]
    mean: NDArray[np.float64] = np.mean(stds, axis=0)
    return mean


def _render(
    settings: Settings, split: Split, spec: ModelSpec, device: torch.device, *, outliers: bool
) -> NDArray[np.uint8]:
    """Return the images as training renders photographs, or outliers in their place.

    Random values are those of the first two epochs after the training.
    """
    config = AugmentationConfig(photograph=1.0, outlier_exposure=ALMOST_ALL if outliers else 0.0)
    augmentation = create_augmentation(
        config, split.labels, spec.labels, settings.training.seed, device
    )
    assert augmentation is not None  # noqa: S101 - for the type checker
    images = to_tensor(split.images, device)
    epoch = settings.training.epochs + int(outliers)
    rendered = [
        augmentation(images[indices], indices, epoch).round().to(torch.uint8)
        for indices in torch.split(torch.arange(len(images), device=device), BATCH_SIZE)
    ]
    array: NDArray[np.uint8] = torch.cat(rendered)[:, 0].cpu().numpy()
    return array
