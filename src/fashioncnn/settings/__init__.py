"""Settings of a training run: frozen pydantic models, validated when they are created.

The docstring below each field is its documentation: ``fashioncnn train --help`` and the settings
reference in the guide are generated from it.
"""

from __future__ import annotations

from typing import Annotated, Any

import tomli_w
from pydantic import Field, field_validator, model_validator

from fashioncnn.settings.augmentation import AugmentationConfig
from fashioncnn.settings.data import DataConfig
from fashioncnn.settings.networks import (
    BatchNormCNNConfig,
    CustomConfig,
    FashionCNNConfig,
    ModelConfig,
    NetworkKind,
    ResidualCNNConfig,
)
from fashioncnn.settings.optimizers import (
    AdamConfig,
    ConstantSchedule,
    DecaySchedule,
    MuonConfig,
    OptimizerConfig,
    SGDConfig,
)
from fashioncnn.settings.runtime import (
    DEVICE_NAME,
    DEVICE_NAMES,
    MAX_THREADS,
    KernelsName,
    RuntimeConfig,
)
from fashioncnn.settings.section import Section
from fashioncnn.settings.training import DistillationConfig, TrainingConfig

SCHEMA = 2
"""Version of the files written to run and model folders; 1 was written by fashioncnn 0.1."""
DEFAULT_NAMES = {"model": "fashion_cnn"}
"""The ``name`` of a section that gives none."""


class Settings(Section):
    """All settings of a training run."""

    recipe: str
    description: str = ""
    model: ModelConfig = FashionCNNConfig()
    data: DataConfig = DataConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: OptimizerConfig
    schedule: Annotated[ConstantSchedule | DecaySchedule, Field(discriminator="name")] = (
        ConstantSchedule()
    )
    training: TrainingConfig = TrainingConfig()
    distillation: DistillationConfig = DistillationConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @field_validator("model", mode="before")
    @classmethod
    def _fashion_cnn_needs_no_name(cls, model: Any) -> Any:
        return {"name": DEFAULT_NAMES["model"], **model} if isinstance(model, dict) else model

    @model_validator(mode="after")
    def _best_val_needs_validation(self) -> Settings:
        if self.training.select == "best_val" and not self.data.holds_out:
            raise ValueError(
                "select = 'best_val' needs a validation split; set validation above 0, as to auto"
            )
        return self

    @property
    def data_augmentation(self) -> AugmentationConfig:
        """Augmentation of the images of the data; with rehearsal, they are not rendered."""
        if not self.data.rehearsal:
            return self.augmentation
        return self.augmentation.model_copy(update={"photograph": 0.0, "outlier_exposure": 0.0})

    def to_toml(self) -> str:
        """Return the settings as TOML that `fashioncnn.config.read_settings` reads back."""
        values = self.model_dump(mode="json", exclude_none=True)
        return tomli_w.dumps({"schema": SCHEMA, **values})


SECTIONS: dict[str, tuple[type[Section], ...]] = {
    "model": (FashionCNNConfig, BatchNormCNNConfig, ResidualCNNConfig, CustomConfig),
    "data": (DataConfig,),
    "augmentation": (AugmentationConfig,),
    "optimizer": (AdamConfig, SGDConfig, MuonConfig),
    "schedule": (ConstantSchedule, DecaySchedule),
    "training": (TrainingConfig,),
    "distillation": (DistillationConfig,),
    "runtime": (RuntimeConfig,),
}
"""The kinds of each section, by its name in a recipe."""

__all__ = [
    "DEFAULT_NAMES",
    "DEVICE_NAME",
    "DEVICE_NAMES",
    "MAX_THREADS",
    "SCHEMA",
    "SECTIONS",
    "AdamConfig",
    "AugmentationConfig",
    "BatchNormCNNConfig",
    "ConstantSchedule",
    "CustomConfig",
    "DataConfig",
    "DecaySchedule",
    "DistillationConfig",
    "FashionCNNConfig",
    "KernelsName",
    "ModelConfig",
    "MuonConfig",
    "NetworkKind",
    "OptimizerConfig",
    "ResidualCNNConfig",
    "RuntimeConfig",
    "SGDConfig",
    "Section",
    "Settings",
    "TrainingConfig",
]
