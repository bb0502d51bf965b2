"""Resolving settings for a dataset and a machine, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from fashioncnn.artifacts.model_folder import bundled_models, find_model, read_description
from fashioncnn.config import override, validate
from fashioncnn.data.dataset import IN_MEMORY, SKETCHES, Dataset
from fashioncnn.data.training_data import training_splits
from fashioncnn.devices import resolve_runtime
from fashioncnn.errors import FashionCNNError, UsageError
from fashioncnn.files import expand_user
from fashioncnn.inference.evaluate import check_compatible
from fashioncnn.models import build_model
from fashioncnn.models.batchnorm_cnn import BatchNormCNN
from fashioncnn.models.custom import CustomNetwork
from fashioncnn.models.layers import KernelLayer
from fashioncnn.models.residual_cnn import ResidualCNN
from fashioncnn.models.trained_model import TrainedModel, load_model, required_network
from fashioncnn.models.verification import check_network
from fashioncnn.settings import (
    ConstantSchedule,
    CustomConfig,
    DistillationConfig,
    ModelConfig,
    RuntimeConfig,
    Settings,
)


def prepare_settings(
    settings: Settings,
    dataset: Dataset,
    initial: TrainedModel | None = None,
    custom: CustomNetwork | None = None,
) -> Settings:
    """Return the resolved settings: every ``auto`` replaced by its value for this dataset.

    Everything that can be checked before a run folder is created is checked here.

    Args:
        settings: as given.
        dataset: to train on.
        initial: a model to start from; its architecture and preprocessing replace the recipe's.
        custom: a network that replaces the recipe's; that of `initial` if this has one.

    Raises:
        UsageError: device, kernels or validation split are not possible, the network cannot be
            built, or batch norm would get a batch of one value per channel.
        DataError: there is no test split to track, or a model has other classes or image sizes.
        ModelError: a teacher is damaged.
    """
    _check_data(settings, dataset)
    data, model = settings.data, settings.model
    if custom is not None:
        model = custom.config
    elif isinstance(model, CustomConfig) and initial is None:
        raise UsageError(
            f"model.network = {model.network}: settings import no code; give the network itself"
        )
    views = dataset.views if data.views == "auto" else data.views
    if initial is not None:
        _check_initial(settings, initial, dataset)
        required_network("the model to start from", initial.spec.architecture, custom)
        model = initial.spec.architecture if custom is None else custom.config
        views = initial.spec.preprocessing.views
        data = data.model_copy(update={"scaling": initial.spec.preprocessing.scaling})
    train, validation = training_splits(dataset, data)  # raises if it is not possible
    held_out = 0 if validation is None else len(validation)
    _check_patience(settings, held_out)
    runtime = resolve_runtime(settings.runtime)
    if custom is None:
        _check_network(settings, model, dataset, len(train))
    else:
        runtime = _check_custom(settings, runtime, custom, dataset, len(train))
    is_name = dataset.name == SKETCHES or dataset.source == IN_MEMORY
    source = dataset.source if is_name else str(Path(dataset.source).resolve())
    data = data.model_copy(update={"validation": held_out, "source": source, "views": views})
    changes = {
        "data": data,
        "model": model,
        "distillation": _resolve_distillation(settings, dataset),
        "runtime": runtime,
    }
    return validate(settings.model_copy(update=changes).model_dump())


def can_extend(settings: Settings) -> bool:
    """Return whether epochs can be added: only if the schedule does not depend on their number."""
    return isinstance(settings.schedule, ConstantSchedule)


def check_extension(settings: Settings, epochs: int, path: Path) -> None:
    """Reject a number of epochs that a run cannot be extended to.

    Args:
        settings: of the run.
        epochs: another number than that of the settings.
        path: of the run.

    Raises:
        UsageError: it is smaller, or the learning rate schedule depends on the number of epochs.
    """
    before = settings.training.epochs
    if epochs < before:
        raise UsageError(
            f"--epochs {epochs}: {path} was started with {before} epochs; it can only be extended"
        )
    if not can_extend(settings):
        raise UsageError(
            f"--epochs {epochs}: the learning rate of {path} has decayed to 0 at epoch {before}; "
            f"start a new run from its weights with --from {path}"
        )


def prepare_resumed(
    settings: Settings, dataset: Dataset, custom: CustomNetwork | None = None
) -> Settings:
    """Return the settings of a resumed run for this machine, which may have no native kernels.

    Raises:
        UsageError: device or threads are not available, or the data does not match the settings.
    """
    if settings.runtime.kernels == "native":
        settings = override(settings, {"runtime.kernels": "auto"})
    return prepare_settings(settings, dataset, custom=custom)


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


def _check_data(settings: Settings, dataset: Dataset) -> None:
    data, size = settings.data, dataset.require_train().images.shape[1]
    if data.image_size not in (None, size):
        raise UsageError(
            f"image_size = {data.image_size}: only images of class folders are resized; those of "
            f"{dataset.source} are {size}×{size}"
        )
    if dataset.views == "plain" and data.views not in ("auto", "plain"):
        raise UsageError(
            f"data.views = '{data.views}': the images of {dataset.source} were loaded as 'plain', "
            "so predictions must use 'plain', too"
        )
    if settings.augmentation.shift >= size:
        raise UsageError(
            f"augmentation.shift = {settings.augmentation.shift}: should be less than the image "
            f"side, {size}"
        )
    if settings.training.track_test:
        dataset.require_test()


def _check_initial(settings: Settings, initial: TrainedModel, dataset: Dataset) -> None:
    if settings.distillation.ensemble_size:
        raise UsageError(
            f"distillation.ensemble_size = {settings.distillation.ensemble_size}: teachers are "
            "trained from scratch, which --from contradicts; --set distillation.ensemble_size=0"
        )
    check_compatible(initial.spec, dataset)


def _check_patience(settings: Settings, held_out: int) -> None:
    patience = settings.training.patience
    if patience and not held_out:
        raise UsageError(
            f"patience = {patience}: early stopping needs a validation split; set validation above "
            "0, for example to auto"
        )


def _check_network(settings: Settings, model: ModelConfig, dataset: Dataset, n: int) -> None:
    size = dataset.train.images.shape[1]
    with torch.device("meta"):  # allocates nothing
        network = build_model(model, size, len(dataset.class_names))
    batch_size = settings.training.batch_size
    if _normalizes_single_values(network) and 1 in (n % batch_size, batch_size):
        raise UsageError(
            f"batch_size = {batch_size}: the last batch of {n:,} images would have one image, too "
            "few for batch norm; use another --batch-size"
        )


def _check_custom(
    settings: Settings,
    runtime: RuntimeConfig,
    custom: CustomNetwork,
    dataset: Dataset,
    n: int,
) -> RuntimeConfig:
    """Try a custom network out; return the runtime, without native kernels if it has none.

    Args:
        settings: not resolved.
        runtime: resolved.
        custom: the network.
        dataset: to train on.
        n: number of images to train on.
    """
    batch_size = settings.training.batch_size
    network = check_network(
        custom,
        dataset.train.images.shape[1],
        len(dataset.class_names),
        batch_sizes={2, *({1} & {n, n % batch_size, batch_size})},
        precision=str(runtime.precision),
    )
    if any(isinstance(layer, KernelLayer) for layer in network.modules()):
        return runtime
    return runtime.model_copy(update={"kernels": "torch"})


def _normalizes_single_values(network: nn.Module) -> bool:
    """Return whether batch norm gets one value per channel and image."""
    return isinstance(network, BatchNormCNN | ResidualCNN) and network.side == 1


def _resolve_distillation(settings: Settings, dataset: Dataset) -> DistillationConfig:
    distillation = settings.distillation
    teachers = resolve_teachers(distillation.teachers, dataset)
    epochs = distillation.epochs
    if distillation.ensemble_size and epochs == "auto":
        epochs = settings.training.epochs
    return distillation.model_copy(update={"teachers": teachers, "epochs": epochs})
