"""Knowledge distillation: teachers whose mean probabilities are a target of the student.

The teachers see the same augmented images as the student (Hinton, Vinyals and Dean,
arXiv:1503.02531; Beyer et al., arXiv:2106.05237).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from fashioncnn.artifacts.model_folder import bundled_models, find_model, read_description
from fashioncnn.data.dataset import Dataset
from fashioncnn.data.seeding import teacher_seed
from fashioncnn.devices import autocast
from fashioncnn.errors import FashionCNNError, UsageError
from fashioncnn.files import expand_user
from fashioncnn.inference.evaluate import check_compatible
from fashioncnn.models.backend import normalize
from fashioncnn.models.trained_model import TrainedModel, load_model
from fashioncnn.settings import (
    CustomConfig,
    DistillationConfig,
    KernelsName,
    Settings,
    TrainingConfig,
)


@dataclass(frozen=True)
class TeacherEnsemble:
    """Trained networks that predict together.

    Attributes:
        models: at least one, all with the same classes.
        precision: ``fp32`` or ``bf16``.
        temperature: divides the logits.
    """

    models: Sequence[TrainedModel]
    precision: str
    temperature: float = 1.0

    def __call__(self, images: Tensor) -> Tensor:
        """Return the mean of the teachers' probabilities, (b, classes) float32.

        Args:
            images: (b, 1, size, size) augmented, in [0, 255], on the teachers' device.
        """
        with torch.no_grad(), autocast(images.device, self.precision):
            logits = [
                model.network(normalize(images, model.spec.preprocessing)).float()
                for model in self.models
            ]
        return (torch.stack(logits) / self.temperature).softmax(2).mean(0)


def resolve_teachers(names: Sequence[str], dataset: Dataset) -> tuple[str, ...]:
    """Return the names of models that can be teachers; folders as absolute paths.

    Raises:
        UsageError: a model does not exist, or is given twice.
        DataError: a model has other classes or another image size.
        ModelError: a model is damaged.
    """
    resolved: dict[str, str] = {}
    for name in names:
        try:
            path = expand_user(name, "distillation.teachers")
            folder = find_model(path)
            if isinstance(read_description(folder).architecture, CustomConfig):
                raise UsageError("a custom network cannot be a teacher")
            model = load_model(path)
            check_compatible(model.spec, dataset)
        except FashionCNNError as error:
            raise type(error)(f"distillation.teachers = {name}: {error}") from None
        sha256 = model.sha256
        if sha256 in resolved:
            raise UsageError(
                f"distillation.teachers: {resolved[sha256]} and {name} are the same model"
            )
        bundled = folder in bundled_models().values()
        resolved[sha256] = name if bundled else str(path.resolve())
    return tuple(resolved.values())


def resolve_distillation(
    settings: Settings, training: TrainingConfig, dataset: Dataset
) -> DistillationConfig:
    """Return the settings with resolved teachers, and the epochs of those to train first.

    Args:
        settings: as given.
        training: resolved, of the student.
        dataset: to train on.

    Raises:
        FashionCNNError: see `resolve_teachers`.
    """
    distillation = settings.distillation
    teachers = resolve_teachers(distillation.teachers, dataset)
    epochs = distillation.epochs
    if distillation.ensemble_size and epochs == "auto":
        epochs = int(training.epochs)
    return distillation.model_copy(update={"teachers": teachers, "epochs": epochs})


def load_teachers(settings: Settings, device: torch.device) -> dict[str, TrainedModel]:
    """Return the given teachers of a run, by the name in its settings.

    Raises:
        UsageError: a model does not exist.
        ModelError: a model is damaged.
    """
    kernels = cast("KernelsName", settings.runtime.kernels)
    return {
        name: load_model(Path(name), device, kernels) for name in settings.distillation.teachers
    }


def create_ensemble(settings: Settings, models: Sequence[TrainedModel]) -> TeacherEnsemble | None:
    """Return the ensemble of a run's teachers; None without teachers."""
    if not models:
        return None
    precision = str(settings.runtime.precision)
    return TeacherEnsemble(models, precision, settings.distillation.temperature)


def teacher_settings(settings: Settings, number: int) -> Settings:
    """Return the settings of a run's teacher: those of the run, with another seed.

    Args:
        settings: of the run, resolved.
        number: of the teacher, counted from 1.
    """
    distillation = settings.distillation
    training = settings.training.model_copy(
        update={
            "epochs": distillation.epochs,
            "seed": teacher_seed(settings.training.seed, number),
            "select": "last",
            "track_test": False,
        }
    )
    return settings.model_copy(
        update={
            "description": f"teacher {number} of {distillation.ensemble_size}",
            "training": training,
            "distillation": DistillationConfig(),
        }
    )
