"""Resolving settings for a dataset and a machine, before anything is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from fashioncnn.config import override, validate
from fashioncnn.data.alignment import similar_names
from fashioncnn.data.dataset import IN_MEMORY, SKETCHES, Dataset
from fashioncnn.data.training_data import training_splits
from fashioncnn.devices import resolve_device, resolve_kernels, resolve_runtime
from fashioncnn.errors import UsageError
from fashioncnn.kernels import load_kernels
from fashioncnn.models import build_model
from fashioncnn.models.batchnorm_cnn import BatchNormCNN
from fashioncnn.models.custom import CustomNetwork
from fashioncnn.models.layers import KernelLayer
from fashioncnn.models.residual_cnn import ResidualCNN
from fashioncnn.models.trained_model import TrainedModel, required_network
from fashioncnn.models.transfer import require_head
from fashioncnn.models.verification import check_network
from fashioncnn.settings import (
    CustomConfig,
    KernelsName,
    ModelConfig,
    RuntimeConfig,
    Settings,
    TrainingConfig,
)
from fashioncnn.training.batches import rank_positions
from fashioncnn.training.calibration import training_lengths
from fashioncnn.training.checks import (
    check_calibration,
    check_classes,
    check_data,
    check_freeze,
    check_no_teachers,
    check_patience,
    check_weights,
)
from fashioncnn.training.distillation import resolve_distillation
from fashioncnn.training.selection import Candidate, fastest_candidate, measure_candidates

MAX_NAMES = 10
"""Classes that a message lists."""
MIN_EPOCHS, MIN_STEPS = 15, 200
"""The fewest epochs and optimizer steps that ``epochs = "auto"`` stands for."""


def prepare_settings(
    settings: Settings,
    dataset: Dataset,
    initial: TrainedModel | None = None,
    custom: CustomNetwork | None = None,
    world_size: int = 1,
) -> Settings:
    """Return the resolved settings: every ``auto`` replaced by its value for this dataset.

    Everything that can be checked before a run folder is created is checked here.

    Args:
        settings: as given.
        dataset: to train on.
        initial: a model to start from; its architecture and preprocessing replace the recipe's.
        custom: a network that replaces the recipe's; that of `initial` if this has one.
        world_size: number of processes that train it together.

    Raises:
        UsageError: device, kernels or validation split are not possible, the network cannot be
            built, or batch norm would get a batch of one value per channel.
        DataError: there is no test split to track, or a model has other classes or image sizes.
        ModelError: a teacher is damaged.
    """
    check_freeze(settings, initial)
    return _resolve(settings, dataset, initial, custom, world_size)


def _resolve(
    settings: Settings,
    dataset: Dataset,
    initial: TrainedModel | None,
    custom: CustomNetwork | None,
    world_size: int,
) -> Settings:
    check_data(settings, dataset)
    data, model = settings.data, settings.model
    if custom is not None:
        model = custom.config
    elif isinstance(model, CustomConfig) and initial is None:
        raise UsageError(
            f"model.network = {model.network}: settings import no code; give the network itself"
        )
    views = dataset.views if data.views == "auto" else data.views
    if initial is not None:
        check_no_teachers(settings)
        required_network("the model to start from", initial.spec.architecture, custom)
        model = initial.spec.architecture if custom is None else custom.config
        views = initial.spec.preprocessing.views
        data = data.model_copy(update={"scaling": initial.spec.preprocessing.scaling})
    train, validation = training_splits(dataset, data)  # raises if it is not possible
    check_classes(settings, dataset, train, validation)
    held_out = 0 if validation is None else len(validation)
    check_patience(settings, held_out)
    data = data.model_copy(update={"validation": held_out})
    training = _resolve_epochs(settings.training, len(train))
    runtime = resolve_runtime(settings.runtime)
    with_split = settings.model_copy(update={"data": data})
    check_calibration(with_split, len(train))
    batches = {
        n: _batch_sizes(training.batch_size, n, world_size)
        for n in training_lengths(with_split, len(train))
    }
    if custom is None:
        network = _check_network(settings, model, dataset, batches)
    else:
        sizes = set().union(*batches.values())
        network, runtime = _check_custom(settings, runtime, custom, dataset, sizes)
    if world_size == 1:  # several processes might select different kernels
        select = partial(
            _fastest_of, model, custom, dataset=dataset, batch_size=training.batch_size
        )
        runtime = _select_fastest(settings.runtime, runtime, select)
    if initial is not None:
        check_weights(network, initial, dataset)
    is_name = dataset.name == SKETCHES or dataset.source == IN_MEMORY
    source = dataset.source if is_name else str(Path(dataset.source).resolve())
    data = data.model_copy(update={"source": source, "views": views})
    data = data.model_copy(update={"channels": dataset.channels})
    changes = {
        "data": data,
        "model": model,
        "training": training,
        "distillation": resolve_distillation(settings, training, dataset),
        "runtime": runtime,
    }
    return validate(settings.model_copy(update=changes).model_dump())


def settings_of_weights(settings: Settings, initial: TrainedModel | None) -> Settings:
    """Return the settings that decide how to load the data for a training from given weights.

    Views and channels are those of the model, as is the image size unless the settings have one.
    So are the classes, where classes of the data are mapped to them.
    """
    if initial is None:
        return settings
    preprocessing = initial.spec.preprocessing
    values: dict[str, Any] = {
        "data.views": preprocessing.views,
        "data.channels": preprocessing.channels,
        "data.image_size": settings.data.image_size or preprocessing.image_size,
    }
    if settings.data.map and settings.data.classes is None:
        values["data.classes"] = initial.spec.labels
    return override(settings, values)


def describe_transfer(initial: TrainedModel, dataset: Dataset) -> list[str]:
    """Return what is kept of the classes of a model to start from, in lines; none if all are.

    Args:
        initial: the model.
        dataset: to train on.
    """
    names, labels = dataset.class_names, initial.spec.labels
    new = [name for name in names if name not in labels]
    if not new:
        return []
    kept = [name for name in names if name in labels]
    return [
        f"classes that the model knows: {_list(kept) or 'none'}; new: {_list(new)}",
        *(
            f"class '{name}' is new, since the model calls it '{label}'; rename it to start from "
            "what was trained"
            for name, label in similar_names(names, labels).items()
        ),
    ]


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{', '.join(names[:MAX_NAMES])}{more}"


def prepare_resumed(
    settings: Settings,
    dataset: Dataset,
    custom: CustomNetwork | None = None,
    world_size: int = 1,
) -> Settings:
    """Return the settings of a resumed run for this machine, which may have no native kernels.

    Raises:
        UsageError: device or threads are not available, or the data does not match the settings.
    """
    device = resolve_device(settings.runtime.device)
    if resolve_kernels("auto", device) == "torch":
        settings = override(settings, {"runtime.kernels": "torch"})
    return _resolve(settings, dataset, None, custom, world_size)


def _resolve_epochs(training: TrainingConfig, n: int) -> TrainingConfig:
    """Replace ``auto`` for a training on `n` images."""
    if training.epochs != "auto":
        return training
    epochs = max(MIN_EPOCHS, math.ceil(MIN_STEPS / math.ceil(n / training.batch_size)))
    return training.model_copy(update={"epochs": epochs})


def _batch_sizes(batch_size: int, n: int, world_size: int) -> set[int]:
    """Return how many images a process may get at once of `n`; see `rank_positions`.

    Raises:
        UsageError: a process gets none of a full batch.
    """
    full, last = (
        {len(rank_positions(size, rank, world_size)) for rank in range(world_size)}
        for size in (min(batch_size, n), n % batch_size)
    )
    if 0 in full:
        raise UsageError(
            f"batch_size = {min(batch_size, n)}: too few images for {world_size} processes, which "
            f"train on pairs; use at least {2 * world_size - 1}, or fewer processes"
        )
    return (full | last) - {0}


def _check_network(
    settings: Settings, model: ModelConfig, dataset: Dataset, batches: dict[int, set[int]]
) -> nn.Module:
    """Return the network on the meta device, or raise an error if it cannot be trained.

    Args:
        settings: as given.
        model: of the network.
        dataset: to train on.
        batches: see `_batch_sizes`, by the number of images to train on.
    """
    size, classes = dataset.image_size, len(dataset.class_names)
    with torch.device("meta"):  # allocates nothing
        network = build_model(model, size, classes, dataset.channels)
    batch_size = settings.training.batch_size
    single = [n for n, sizes in batches.items() if 1 in sizes]
    if _normalizes_single_values(network) and single:
        raise UsageError(
            f"batch_size = {batch_size}: the last batch of {single[0]:,} images would have one "
            "image, too few for batch norm; use another --batch-size"
        )
    return network


def _check_custom(
    settings: Settings,
    runtime: RuntimeConfig,
    custom: CustomNetwork,
    dataset: Dataset,
    batch_sizes: set[int],
) -> tuple[nn.Module, RuntimeConfig]:
    """Try a custom network out; return it and the runtime without unused kernels."""
    network = check_network(
        custom,
        dataset.train.images.shape[1],
        len(dataset.class_names),
        in_channels=dataset.channels,
        batch_sizes={2, *({1} & batch_sizes)},
        precision=str(runtime.precision),
    )
    if settings.training.freeze != "none" or settings.optimizer.backbone_lr_factor != 1:
        require_head(network, len(dataset.class_names), custom.name)
    if any(isinstance(layer, KernelLayer) for layer in network.modules()):
        return network, runtime
    return network, runtime.model_copy(update={"kernels": "torch"})


def _select_fastest(
    requested: RuntimeConfig,
    runtime: RuntimeConfig,
    select: Callable[[tuple[Candidate, ...]], Candidate],
) -> RuntimeConfig:
    """Replace kernels and precision by faster ones, as far as they are requested as ``auto``.

    Compared is only what the CPU may choose from: kernels in bf16, and fp32 against bf16.
    """
    if runtime.device != "cpu" or runtime.precision != "bf16":
        return runtime
    resolved = cast("KernelsName", runtime.kernels)
    candidates: list[Candidate] = [("bf16", resolved)]
    if (
        requested.kernels == "auto"
        and resolved == "native"
        and load_kernels().bf16_convolutions  # else equal to "mixed"
    ):
        candidates.append(("bf16", "mixed"))
    if requested.precision == "auto":
        candidates.append(("fp32", resolved))
    if len(candidates) == 1:
        return runtime
    precision, kernels = select(tuple(candidates))
    return runtime.model_copy(update={"precision": precision, "kernels": kernels})


def _fastest_of(
    model: ModelConfig,
    custom: CustomNetwork | None,
    candidates: tuple[Candidate, ...],
    *,
    dataset: Dataset,
    batch_size: int,
) -> Candidate:
    """Return the candidate that is measured to be the fastest for a network."""
    size, classes, channels = dataset.image_size, len(dataset.class_names), dataset.channels
    if custom is None:
        threads = torch.get_num_threads()
        return fastest_candidate(candidates, model, classes, channels, size, batch_size, threads)
    build = partial(custom.build, size, classes, channels)
    return measure_candidates(candidates, build, (channels, size, size), batch_size)


def _normalizes_single_values(network: nn.Module) -> bool:
    """Return whether batch norm gets one value per channel and image."""
    return isinstance(network, BatchNormCNN | ResidualCNN) and network.side == 1
