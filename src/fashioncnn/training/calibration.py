"""After training: how sure a network may be, told by images that it did not learn from."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from fashioncnn.artifacts.ood import logit_std
from fashioncnn.data.dataset import Split
from fashioncnn.evaluation.calibration import (
    fit_abstention_threshold,
    fit_ood_detector,
    fit_temperature,
)
from fashioncnn.evaluation.logits import BATCH, compute_logits
from fashioncnn.evaluation.metrics import Logits, softmax
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.settings import AugmentationConfig, Settings
from fashioncnn.training.state import create_augmentation

NEARLY_ALL = math.nextafter(1.0, 0.0)
"""A share of images that leaves out none."""


def calibrate(
    model: TrainedModel,
    settings: Settings,
    part: Split | None,
    images: Tensor,
    logits: Logits,
    precision: str,
) -> TrainedModel:
    """Return the model with its temperature, its membership and the bound of what is unsure.

    A membership is fitted where training showed photographs and images of no class.

    Args:
        model: after training.
        settings: that it was trained with.
        part: held out; None where nothing was, and ``auto`` is then a temperature of 1, and never
            unsure.
        images: its images, (n, 1, size, size) uint8, on the model's device.
        logits: of them, (n, classes) float32.
        precision: ``fp32`` or ``bf16``.
    """
    temperature, bound = settings.training.temperature, settings.training.abstain_below
    if part is None:
        return replace(
            model,
            temperature=1.0 if temperature == "auto" else temperature,
            abstain_below=0.0 if bound == "auto" else bound,
        )
    ood_detector = None
    if settings.augmentation.photograph > 0:
        logits = _logits_as_photographs(images, settings, part, model, precision)
        if settings.augmentation.outlier_exposure > 0:
            others = _logits_as_photographs(images, settings, part, model, precision, outliers=True)
            ood_detector = fit_ood_detector(logits, others)
    if temperature == "auto":
        temperature = fit_temperature(logits, part.labels)
    model = replace(model, temperature=temperature, ood_detector=ood_detector)
    if bound == "auto":
        probabilities = softmax(logits / np.float32(temperature))
        confidences = model.confidences(probabilities, logit_std(logits))
        bound = fit_abstention_threshold(confidences, logits.argmax(1) == part.labels)
    return replace(model, abstain_below=bound)


def _logits_as_photographs(
    images: Tensor,
    settings: Settings,
    part: Split,
    model: TrainedModel,
    precision: str,
    *,
    outliers: bool = False,
) -> Logits:
    """Return logits of the images as training shows photographs, or of outliers in their place.

    Both are drawn anew, as in no epoch of the training: as the first and the second after it.
    """
    shown = AugmentationConfig(photograph=1.0, outlier_exposure=NEARLY_ALL if outliers else 0.0)
    only = settings.model_copy(update={"augmentation": shown})
    augment = create_augmentation(only, part, model.class_names, images.device)
    assert augment is not None  # noqa: S101 - for the type checker
    places = torch.arange(len(images), device=images.device)
    epoch = settings.training.epochs + int(outliers)
    augmented = (augment(images[some], some, epoch) for some in torch.split(places, BATCH))
    seen = torch.cat([some.round().to(torch.uint8) for some in augmented])
    return compute_logits(model.network, model.preprocessing, seen, precision)
