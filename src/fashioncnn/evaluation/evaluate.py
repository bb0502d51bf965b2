"""Judge a trained model on one split, from stored predictions where they are still its own."""

from __future__ import annotations

from typing import Any

from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.splits import split_validation, validation_size
from fashioncnn.errors import DataError
from fashioncnn.evaluation.logits import TTA, compute_logits, to_tensor
from fashioncnn.evaluation.metrics import Labels, Logits, compute_metrics
from fashioncnn.evaluation.predictions import load_predictions, save_predictions
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.runs import RunFolder
from fashioncnn.settings import Settings


def evaluate_model(
    model: TrainedModel,
    dataset: Dataset,
    part: Split,
    split: str,
    *,
    run: RunFolder | None = None,
    precision: str = "fp32",
    tta: TTA = "none",
) -> dict[str, Any]:
    """Return the judgement of `model` on `part`.

    Args:
        model: on the device to run on.
        dataset: where `part` is from.
        part: the images to judge on.
        split: ``validation`` or ``test``.
        run: its stored predictions are used while model and images are the same, and
            brought up to date where they are not; left alone with `tta`.
        precision: ``fp32`` or ``bf16``.
        tta: test-time augmentation, see `fashioncnn.evaluation.logits.compute_logits`.

    Raises:
        DataError: the data has other classes or another size than the model.
    """
    check_compatible(model, dataset)
    if tta == "none":
        logits, labels = _predictions(model, part, split, run, precision)
        return compute_model_metrics(model, logits, labels, dataset.name, split)
    images = to_tensor(part.images, model.device)
    logits = compute_logits(
        model.network, model.preprocessing, images, precision, tta, model.temperature
    )
    return {**compute_model_metrics(model, logits, part.labels, dataset.name, split), "tta": tta}


def compute_model_metrics(
    model: TrainedModel, logits: Logits, labels: Labels, dataset: str, split: str
) -> dict[str, Any]:
    """Return the judgement of `model` by the logits that it gave.

    Args:
        model: whose they are.
        logits: (n, classes) float32.
        labels: (n,) uint8.
        dataset: name of the data set.
        split: ``validation`` or ``test``.
    """
    return compute_metrics(
        logits,
        labels,
        model.class_names,
        dataset=dataset,
        split=split,
        parameters=model.parameters,
        multiply_adds=model.multiply_adds,
        temperature=model.temperature,
    )


def _predictions(
    model: TrainedModel, part: Split, split: str, run: RunFolder | None, precision: str
) -> tuple[Logits, Labels]:
    identity = {"model_sha256": model.sha256, "precision": precision}
    split_identity = {f"{split}_sha256": part.sha256}
    predictions, stored = load_predictions(run.predictions) if run else ({}, {})
    same_model = identity.items() <= stored.items()
    if same_model and split in predictions and split_identity.items() <= stored.items():
        return predictions[split]
    images = to_tensor(part.images, model.device)
    result = compute_logits(model.network, model.preprocessing, images, precision), part.labels
    if run is not None:
        kept = predictions if same_model else {}
        known = stored if same_model else {}
        save_predictions(
            run.predictions, {**kept, split: result}, {**known, **identity, **split_identity}
        )
    return result


def check_compatible(model: TrainedModel, dataset: Dataset) -> None:
    """Raise `DataError` where the model cannot be judged on the data."""
    if dataset.class_names != model.class_names:
        raise DataError(
            f"{dataset.source}: its classes ({', '.join(dataset.class_names[:3])} …) are not the "
            f"model's ({', '.join(model.class_names[:3])} …)"
        )
    size = dataset.train.images.shape[1]
    if size != model.preprocessing.image_size:
        raise DataError(
            f"{dataset.source}: images of {size}×{size}, but the model takes "
            f"{model.preprocessing.image_size}×{model.preprocessing.image_size}"
        )


def evaluation_splits(dataset: Dataset, settings: Settings | None) -> dict[str, Split]:
    """Return the parts that can be judged on: ``test``, and ``validation`` as a run held it out.

    Other data than the run's may be too few to hold as many out; they have no such part.

    Args:
        dataset: the data.
        settings: of the run; None where there was no run.
    """
    parts = {} if dataset.test is None else {"test": dataset.test}
    if settings is not None:
        size = validation_size(settings.data.validation, len(dataset.train))
        fits = size < len(dataset.train)
        held = split_validation(dataset.train, size)[1] if fits else None
        if held is not None:
            parts["validation"] = held
    return parts
