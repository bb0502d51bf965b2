"""Settings of the training: duration, loss, selection of weights, distillation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from fashioncnn.settings.section import Section


class TrainingConfig(Section):
    """Duration, loss and selection of weights."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"] = 20
    """Passes over the training split; ``auto`` is 15, and more where that is fewer than 200
    optimizer steps."""
    batch_size: int = Field(128, ge=1, le=1_000_000)
    """Images per optimizer step."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of initial weights, data order, dropout and augmentation."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Label smoothing of the cross-entropy (arXiv:1512.00567)."""
    logit_adjustment: Annotated[float, Field(gt=0, le=2)] | None = None
    """Weight of the logarithm of the class frequencies that is added to the logits in the loss
    (arXiv:2007.07314), for classes of different size; 1 trains for balanced classes."""
    freeze: Literal["none", "features"] = "none"
    """``features`` trains only the last layer; all others, their batch norm statistics included,
    stay as they are in the model that training starts from."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """Decay per step of an exponential moving average (EMA) of the weights, which is then
    evaluated and kept; 0 keeps the raw weights."""
    temperature: Annotated[float, Field(ge=0.001, le=1000)] | Literal["auto"] = "auto"
    """Softmax temperature of the model (arXiv:1706.04599); ``auto`` fits it to the validation
    split, else by cross-validation (``calibration_folds``), else it is 1."""
    calibration_folds: int = Field(0, ge=0, le=20)
    """Without a validation split, ``auto`` temperature and abstention threshold are fitted in a
    cross-validation with this many folds, at least 2, each trained with the same settings; 0 for
    none."""
    abstain_below: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = 0.0
    """Confidence below which ``predict`` abstains; ``auto`` is the threshold that loses one tenth
    of the correct answers on the validation split or in the cross-validation, 0 without one."""
    patience: int = Field(0, ge=0, le=1_000_000)
    """Early stopping: training ends after this many epochs without a new best value of
    ``select_by`` on the validation split; 0 is off. ``select`` decides which weights are kept."""
    select: Literal["last", "best_val"] = "last"
    """Weights to keep: of the last epoch, or of the best validation epoch."""
    select_by: Literal["loss", "accuracy"] = "loss"
    """Validation metric that ``best_val`` and ``patience`` compare."""
    track_test: bool = False
    """Also record the test curve; it influences nothing."""
    checkpoint_seconds: float = Field(60.0, gt=0)
    """A checkpoint is written after every epoch, and within an epoch at this interval."""


class DistillationConfig(Section):
    """Knowledge distillation: training on the teachers' outputs beside the labels.

    The teachers see the same augmented images as the student (arXiv:1503.02531,
    arXiv:2106.05237).
    """

    teachers: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, max_length=64)
    ] = ()
    """Trained models to use as teachers: run or model folders, or names of bundled models. They may
    have been trained on what is held out here for validation."""
    ensemble_size: int = Field(0, ge=0, le=64)
    """Number of teachers to train first, with this recipe and other seeds; the mean of their
    probabilities is the target."""
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"] = "auto"
    """Epochs of each teacher trained first; ``auto`` is the student's."""
    alpha: float = Field(0.8, gt=0, le=1)
    """Weight of the teachers' probabilities in the target; the label has the rest."""
    temperature: float = Field(1.0, gt=0, le=100)
    """Softmax temperature of teachers and student in the distillation loss."""

    @property
    def is_off(self) -> bool:
        """Whether there are no teachers."""
        return not (self.teachers or self.ensemble_size)

    @field_validator("teachers", mode="before")
    @classmethod
    def _accept_a_single_name(cls, teachers: Any) -> Any:
        return (teachers,) if isinstance(teachers, str) else teachers
