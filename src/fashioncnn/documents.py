"""The structure of the JSON documents in a run folder, checked before reports use them.

Only what this version reads is listed; other keys are allowed. The documents stay plain dicts.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Fraction = Annotated[float, Field(ge=0, le=1 + 1e-9)]
"""In [0, 1], but for rounding."""
Count = Annotated[int, Field(ge=0)]
MAX_CLASSES = 256


class Document(BaseModel):
    """A JSON object with known and other keys; numbers are finite, no value is converted."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class CalibratedMetrics(Document):
    """Metrics after temperature scaling."""

    temperature: Annotated[float, Field(gt=0)]
    loss: float
    ece: Fraction


class ClassMetrics(Document):
    """Metrics of one class."""

    code: Count
    name: str
    n: Count
    accuracy: Fraction | None
    """None for a class without images."""
    errors: Count


class ConfusedPair(Document):
    """A pair of classes, and how often the first was predicted as the second."""

    true: Count
    predicted: Count
    count: Count


class SplitMetrics(Document):
    """Metrics of one split."""

    dataset: str
    split: str
    n: Annotated[int, Field(ge=1)]
    parameters: Count
    multiply_adds: Count | None = 0
    accuracy: Fraction
    accuracy_ci95: Annotated[list[Fraction], Field(min_length=2, max_length=2)]
    loss: float
    ece: Fraction
    calibrated: CalibratedMetrics = CalibratedMetrics(temperature=1, loss=0, ece=0)
    """Missing in the first files of version 0.1."""
    macro_f1: Fraction
    per_class: Annotated[list[ClassMetrics], Field(min_length=2, max_length=MAX_CLASSES)]
    confusion: list[list[Count]]
    confused_pairs: list[ConfusedPair]

    @model_validator(mode="after")
    def _classes_are_consistent(self) -> SplitMetrics:
        classes = len(self.per_class)
        if [c.code for c in self.per_class] != list(range(classes)):
            raise ValueError("per_class: codes are not 0, 1, 2, …")
        if len(self.confusion) != classes or any(len(row) != classes for row in self.confusion):
            raise ValueError(f"confusion: not {classes} rows of {classes} counts")
        if any(max(pair.true, pair.predicted) >= classes for pair in self.confused_pairs):
            raise ValueError("confused_pairs: a class that does not exist")
        return self


class EpochValue(Document):
    """The best value of a metric, and its epoch."""

    value: float
    epoch: Annotated[int, Field(ge=1)]


class Summary(Document):
    """The result of a training."""

    epochs: Annotated[int, Field(ge=1)]
    selected_epoch: Annotated[int, Field(ge=1)]
    stopped_early: str | None = None
    training_data: str | None = None
    final_train_loss: float
    seconds: Annotated[float, Field(ge=0)]
    peak_memory_bytes: Count | None
    final_validation_accuracy: Fraction | None = None
    final_validation_loss: float | None = None
    best_validation_accuracy: EpochValue | None = None
    lowest_validation_loss: EpochValue | None = None
    final_test_accuracy: Fraction | None = None
    final_test_loss: float | None = None
    best_test_accuracy: EpochValue | None = None
    lowest_test_loss: EpochValue | None = None

    @model_validator(mode="after")
    def _metrics_of_a_split_are_complete(self) -> Summary:
        for split in ("validation", "test"):
            keys = ("final_{}_accuracy", "final_{}_loss", "best_{}_accuracy", "lowest_{}_loss")
            names = {key.format(split) for key in keys}
            given = names & self.model_fields_set
            if given and any(getattr(self, name) is None for name in names):
                raise ValueError(f"metrics of {split} are missing")
        return self


class RunMetrics(Document):
    """``metrics.json``."""

    validation: SplitMetrics | None
    test: SplitMetrics | None
    summary: Summary


class EnvironmentData(Document):
    """The data of a run."""

    name: str
    sha256: dict[str, str]


class Environment(Document):
    """``environment.json``."""

    packages: dict[str, str | None]
    data: EnvironmentData
    teachers: dict[str, str] | None = None


class EpochRecord(Document):
    """One line of ``history.jsonl``."""

    epoch: Annotated[int, Field(ge=1)]
    train_loss: float
    train_accuracy: Fraction
    val_loss: float | None
    val_accuracy: Fraction | None
    test_loss: float | None
    test_accuracy: Fraction | None

    @model_validator(mode="after")
    def _loss_and_accuracy_are_together(self) -> EpochRecord:
        if (self.val_loss is None) != (self.val_accuracy is None):
            raise ValueError("val_loss without val_accuracy, or the reverse")
        if (self.test_loss is None) != (self.test_accuracy is None):
            raise ValueError("test_loss without test_accuracy, or the reverse")
        return self


DocumentKind = Literal["metrics", "environment", "epoch"]
DOCUMENTS: dict[DocumentKind, type[Document]] = {
    "metrics": RunMetrics,
    "environment": Environment,
    "epoch": EpochRecord,
}


def check_document(kind: DocumentKind, values: Any) -> None:
    """Check a document, or one line of the history.

    Raises:
        ValueError: a key is missing, or a value is impossible; the message names the first.
    """
    try:
        DOCUMENTS[kind].model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or kind
        raise ValueError(f"{key}: {first['msg'].removeprefix('Value error, ')}") from None
