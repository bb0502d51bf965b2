"""Everything that is needed to use a network, apart from its weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fashioncnn.artifacts.ood import OODDetector
from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.settings import ModelConfig

TTA = Literal["none", "flip"]
"""Test-time augmentation: ``flip`` averages over each view and its horizontal flip."""


class ModelSpec(BaseModel):
    """How to build a network, prepare its input and interpret its output.

    The names of the fields are the keys of ``config.json`` in a model folder.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    architecture: ModelConfig
    """The section ``[model]`` of the settings."""
    labels: Annotated[tuple[str, ...], Field(min_length=2, max_length=256)]
    """Names of the classes, by label."""
    preprocessing: Preprocessing
    dataset: str
    """Name of the dataset that the network was trained on."""
    temperature: Annotated[float, Field(ge=0.001, le=1000)] = 1.0
    """Logits are divided by it before the softmax (arXiv:1706.04599)."""
    abstain_below: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Confidence below which a prediction is an abstention."""
    ood_detector: OODDetector | None = None
    """The source of confidences; without one it is the highest probability."""
    tta: TTA = "none"
    """Test-time augmentation that predictions use."""
    predicts_names: bool = False
    """Whether `fashioncnn.Classifier.predict` returns class names, with which it was trained."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self.labels

    @property
    def confidence(self) -> str:
        """What the confidence of a prediction is, in words."""
        detector = self.ood_detector
        if detector is None:
            return "the highest class probability"
        shown = "the probability that the image shows one of the classes"
        if not detector.probability_slope:
            return shown
        return f"{shown} and is classified correctly"

    def replace(self, **values: Any) -> ModelSpec:
        """Return a copy with other values; they are not validated."""
        return self.model_copy(update=values)
