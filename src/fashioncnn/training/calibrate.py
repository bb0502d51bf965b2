"""After training: how sure a network may be, told by pictures that it did not learn from."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fashioncnn.data.dataset import Split
from fashioncnn.evaluation.calibration import fit_bound, fit_temperature
from fashioncnn.evaluation.logits import BATCH, compute_logits
from fashioncnn.evaluation.metrics import Logits
from fashioncnn.models.store import TrainedModel
from fashioncnn.settings import AugmentationConfig, Settings
from fashioncnn.training.learner import augmentation_of


def calibrate(
    model: TrainedModel,
    settings: Settings,
    part: Split | None,
    images: Tensor,
    logits: Logits,
    precision: str,
) -> TrainedModel:
    """Return the model with its temperature and the bound of what is unsure.

    Args:
        model: after training.
        settings: that it was trained with.
        part: held out; None where nothing was, and ``auto`` is then a temperature of 1, and never
            unsure.
        images: its pictures, (n, 1, size, size) uint8, on the model's device.
        logits: of them, (n, classes) float32.
        precision: ``fp32`` or ``bf16``.
    """
    temperature, bound = settings.training.temperature, settings.training.unsure_below
    if "auto" not in (temperature, bound):
        return replace(model, temperature=float(temperature), unsure_below=float(bound))
    if part is None:
        return replace(
            model,
            temperature=1.0 if temperature == "auto" else temperature,
            unsure_below=0.0 if bound == "auto" else bound,
        )
    if settings.augmentation.photograph > 0:
        seen = _as_photographs(images, settings, part, model)
        logits = compute_logits(model.network, model.preprocessing, seen, precision)
    if temperature == "auto":
        temperature = fit_temperature(logits, part.labels)
    if bound == "auto":
        bound = fit_bound(logits, part.labels, temperature)
    return replace(model, temperature=temperature, unsure_below=bound)


def _as_photographs(images: Tensor, settings: Settings, part: Split, model: TrainedModel) -> Tensor:
    """Show the pictures as training shows photographs."""
    only = settings.model_copy(update={"augmentation": AugmentationConfig(photograph=1.0)})
    augment = augmentation_of(only, part, model.class_names, images.device)
    assert augment is not None  # noqa: S101 - for the type checker
    places = torch.arange(len(images), device=images.device)
    pictures = (augment(images[some], some, 0) for some in torch.split(places, BATCH))
    return torch.cat([some.round().to(torch.uint8) for some in pictures])
