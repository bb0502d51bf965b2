"""What settings mean for one data set on one machine, found out before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from fashioncnn.config import validate
from fashioncnn.data.dataset import SKETCHES, Dataset
from fashioncnn.data.splits import stratified_split_indices, validation_size
from fashioncnn.errors import FashionCNNError, UsageError
from fashioncnn.evaluation.evaluate import check_compatible
from fashioncnn.files import expand_user
from fashioncnn.models import build_model
from fashioncnn.models.batchnorm_cnn import BatchNormCNN
from fashioncnn.models.residual_cnn import ResidualCNN
from fashioncnn.models.trained_model import TrainedModel, bundled_models, find_model, load_model
from fashioncnn.runtime import resolve_runtime
from fashioncnn.settings import ConstantSchedule, Settings


def prepare_settings(
    settings: Settings, dataset: Dataset, start_from: TrainedModel | None = None
) -> Settings:
    """Return the settings as they will run: every ``auto`` replaced by what it means here.

    With `start_from`, its architecture and scaling take the place of the recipe's. All that can
    be found wrong before a run folder is claimed is found here.

    Raises:
        UsageError: device, kernels or validation part cannot be had, the network not be built, or
            the last batch not be normalised.
        DataError: there is no test part to track, or the weights to begin with, or a model to be
            taught by, were made for other classes or sizes.
        ModelError: a model to be taught by is damaged.
    """
    size = dataset.train.images.shape[1]
    data, model = settings.data, settings.model
    if data.image_size not in (None, size):
        raise UsageError(
            f"image_size = {data.image_size}: only images of class folders are resized; "
            f"those of {dataset.source} are {size}×{size}"
        )
    kind = dataset.views if data.views == "auto" else data.views
    if dataset.views == "plain" and kind != "plain":
        raise UsageError(
            f"data.views = '{kind}': the images of {dataset.source} were read as 'plain', and "
            "so must be those that are predicted"
        )
    if settings.augmentation.shift >= size:
        raise UsageError(
            f"augmentation.shift = {settings.augmentation.shift}: moves images of {size}×{size} "
            "out of sight; it must be less than their side"
        )
    if settings.training.track_test:
        dataset.require_test()
    distillation = settings.distillation
    if distillation.teachers:
        teachers = resolve_teachers(distillation.teachers, dataset)
        distillation = distillation.model_copy(update={"teachers": teachers})
    if distillation.ensemble_size and distillation.epochs == "auto":
        distillation = distillation.model_copy(update={"epochs": settings.training.epochs})
    if start_from is not None:
        if distillation.ensemble_size:
            raise UsageError(
                f"distillation.ensemble_size = {distillation.ensemble_size}: teachers begin afresh, and so must "
                "what they teach; leave --from away, or --set distillation.ensemble_size=0"
            )
        check_compatible(start_from, dataset)
        model = start_from.config
        kind = start_from.preprocessing.views
        data = data.model_copy(update={"scaling": start_from.preprocessing.scaling})
    validation = validation_size(data.validation, len(dataset.train))
    stratified_split_indices(dataset.train.labels, validation)  # refuses what cannot be held out
    with torch.device("meta"):  # refuses what cannot be built, and allocates nothing
        network = build_model(model, size, len(dataset.class_names))
    _reject_single_image_batches(
        network, len(dataset.train) - validation, settings.training.batch_size
    )
    source = dataset.source if dataset.name == SKETCHES else str(Path(dataset.source).resolve())
    data = data.model_copy(update={"validation": validation, "source": source, "views": kind})
    runtime = resolve_runtime(settings.runtime)
    changes = {"data": data, "model": model, "runtime": runtime, "distillation": distillation}
    resolved = settings.model_copy(update=changes)
    return validate(resolved.model_dump())


def resolve_teachers(names: Sequence[str], dataset: Dataset) -> tuple[str, ...]:
    """Return the names of models that can teach, those of folders from the root.

    Raises:
        UsageError: there is no such model, or one is named twice.
        DataError: one was made for other classes or sizes.
        ModelError: one is damaged.
    """
    found: dict[str, str] = {}
    for name in names:
        try:
            path = expand_user(name, "it")
            model, folder = load_model(path), find_model(path)
            check_compatible(model, dataset)
        except FashionCNNError as error:
            raise type(error)(f"distillation.teachers = {name}: {error}") from None
        sha256 = model.sha256
        if sha256 in found:
            raise UsageError(f"distillation.teachers: {found[sha256]} and {name} are one network")
        found[sha256] = name if folder in bundled_models().values() else str(path.resolve())
    return tuple(found.values())


def _reject_single_image_batches(network: nn.Module, n: int, batch_size: int) -> None:
    """Refuse a batch of one image whose batch norm would see one value a channel."""
    if (
        isinstance(network, BatchNormCNN | ResidualCNN)
        and network.side == 1
        and 1 in (n % batch_size, batch_size)
    ):
        raise UsageError(
            f"batch_size = {batch_size}: the last batch of {n:,} images would have one, which "
            "batch normalisation cannot do with; take another --batch-size"
        )


def can_extend(settings: Settings) -> bool:
    """Whether more epochs can follow: only where the learning rate does not depend on the end."""
    return isinstance(settings.schedule, ConstantSchedule)
