"""Networks that are trained first, and what they say of images to the one that learns from them.

What several networks know together fits into one of their size: it learns their mean answer
(Hinton, Vinyals and Dean, arXiv:1503.02531) to each image just as it is shown to itself (Beyer et
al., arXiv:2106.05237). Answers are not tempered: teachers that learnt smoothed labels pass the
smoothing on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fashioncnn.data.seeding import teacher_seed
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.settings import DistillationConfig, Settings


@dataclass(frozen=True)
class TeacherEnsemble:
    """Trained networks that answer together.

    Attributes:
        models: at least one, of the same classes.
        precision: that they compute in, ``fp32`` or ``bf16``.
    """

    models: Sequence[TrainedModel]
    precision: str

    def __call__(self, images: Tensor) -> Tensor:
        """Return the mean of their probabilities, (n, classes) float32.

        Args:
            images: (n, 1, size, size), as augmentation leaves them, on the networks' device.
        """
        half = self.precision == "bf16"
        with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=half):
            logits = [m.network(m.preprocessing(images)).float() for m in self.models]
        return torch.stack(logits).softmax(2).mean(0)


def teacher_settings(settings: Settings, number: int) -> Settings:
    """Return the settings of a run's teacher: its own, with another seed and no teachers.

    Args:
        settings: of the run, with every ``auto`` resolved.
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
