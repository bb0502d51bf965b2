"""Network, optimizer and batches of a training, created from its settings."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fashioncnn.artifacts.preprocessing import Preprocessing, fit_preprocessing
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.augmentation.fashion import create_augmentation
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.seeding import weights_seed
from fashioncnn.data.training_data import training_data_name
from fashioncnn.images.views import ViewMode
from fashioncnn.models import build_model, place_network, set_kernels
from fashioncnn.models.backend import normalize, to_tensor
from fashioncnn.models.batchnorm_cnn import BatchNormCNN
from fashioncnn.models.custom import CustomNetwork
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.models.transfer import freeze_features, transfer_weights
from fashioncnn.settings import AugmentationConfig, Settings
from fashioncnn.training.batches import Batches
from fashioncnn.training.distillation import TeacherEnsemble
from fashioncnn.training.ema import EMA
from fashioncnn.training.losses import Loss
from fashioncnn.training.optimizers import build_optimizer, scheduled_learning_rate
from fashioncnn.training.ranks import ALONE, Ranks
from fashioncnn.training.rehearsal import RehearsalBatches
from fashioncnn.training.state import TrainState

WHITENING_PIXELS = 2000 * 28 * 28
"""Pixels of the training images on which a whitening first layer is fitted."""


def create_state(
    settings: Settings,
    train: Split,
    dataset: Dataset,
    device: torch.device,
    initial: TrainedModel | None = None,
    custom: CustomNetwork | None = None,
    ranks: Ranks = ALONE,
) -> TrainState:
    """Return the state before the first step.

    Args:
        settings: resolved.
        train: the images to train on.
        dataset: that contains them.
        device: to train on.
        initial: a model whose weights and preprocessing to start from.
        custom: the network, if the settings do not describe it.
        ranks: this process among those that train the network together.
    """
    spec = _create_spec(settings, train, dataset, initial)
    network = _create_network(settings, spec, train, initial, custom)
    place_network(network, device)
    set_kernels(network, settings.runtime.kernels)
    training = settings.training
    epochs = int(training.epochs)
    steps = epochs * math.ceil(len(train) / training.batch_size)
    peak = settings.optimizer.learning_rate
    return TrainState(
        network=network,
        spec=spec,
        optimizer=build_optimizer(settings.optimizer, network),
        learning_rate=lambda step: scheduled_learning_rate(settings.schedule, peak, step, steps),
        loss=_create_loss(settings, train, len(dataset.class_names), device),
        epochs=epochs,
        seed=training.seed,
        precision=str(settings.runtime.precision),
        ema=EMA(network, training.ema_decay) if training.ema_decay > 0 else None,
        ranks=ranks,
    )


def create_batches(
    settings: Settings,
    train: Split,
    dataset: Dataset,
    device: torch.device,
    teachers: TeacherEnsemble | None = None,
    ranks: Ranks = ALONE,
) -> Batches | RehearsalBatches:
    """Return the batches of a training, with images and labels on `device`.

    Args:
        settings: resolved.
        train: the images to train on.
        dataset: that contains them.
        device: to train on.
        teachers: for knowledge distillation, or None.
        ranks: this process among those that train the network together.
    """
    batches = _create_batches(settings, settings.data_augmentation, train, dataset, device, ranks)
    batches = replace(batches, teacher=teachers, alpha=settings.distillation.alpha)
    if dataset.rehearsal is None:
        return batches
    added = _create_batches(
        settings, settings.augmentation, dataset.rehearsal, dataset, device, ranks
    )
    size = int(settings.data.rehearsal or 0)
    return RehearsalBatches(batches, replace(added, batch_size=size))


def _create_batches(
    settings: Settings,
    augmentation: AugmentationConfig,
    split: Split,
    dataset: Dataset,
    device: torch.device,
    ranks: Ranks,
) -> Batches:
    training, names = settings.training, dataset.class_names
    view_counts, allowed = None, split.allowed
    if split.views is not None:
        view_counts = torch.tensor([len(views) for views in split.views], device=device)
    if allowed is None and dataset.rehearsal is not None:  # both splits need it, or none
        allowed = np.eye(len(names), dtype=bool)[split.labels]
    return Batches(
        images=to_tensor(split.stacked_views, device),
        labels=torch.from_numpy(split.labels.astype(np.int64)).to(device),
        classes=len(names),
        batch_size=training.batch_size,
        seed=training.seed,
        rank=ranks.rank,
        world_size=ranks.world_size,
        augmentation=create_augmentation(augmentation, split.labels, names, training.seed, device),
        view_counts=view_counts,
        allowed=None if allowed is None else torch.from_numpy(allowed).to(device),
        offsets=_logit_offsets(training.logit_adjustment, split, len(names), device),
    )


def _create_spec(
    settings: Settings, train: Split, dataset: Dataset, initial: TrainedModel | None
) -> ModelSpec:
    views = cast("ViewMode", settings.data.views)
    preprocessing: Preprocessing = (
        fit_preprocessing(train.stacked_views, settings.data.scaling, views)
        if initial is None
        else replace(initial.spec.preprocessing, image_size=train.images.shape[1])
    )
    return ModelSpec(
        architecture=settings.model,
        labels=dataset.class_names,
        preprocessing=preprocessing,
        dataset=training_data_name(dataset.name, settings.data),
        tta="flip" if views == "photo" else "none",
    )


def _create_network(
    settings: Settings,
    spec: ModelSpec,
    train: Split,
    initial: TrainedModel | None,
    custom: CustomNetwork | None,
) -> nn.Module:
    torch.manual_seed(weights_seed(settings.training.seed))
    size, channels = spec.preprocessing.image_size, spec.preprocessing.channels
    if custom is None:
        network = build_model(settings.model, size, len(spec.labels), channels)
    else:
        network = custom.build(size, len(spec.labels), channels)
    if isinstance(network, BatchNormCNN) and network.whitening:
        count = max(1, WHITENING_PIXELS // size**2)
        sample = train.images[:: max(1, len(train) // count)][:count]
        network.whiten(normalize(to_tensor(sample, torch.device("cpu")), spec.preprocessing))
    if initial is not None:
        weights = initial.network.state_dict()
        transfer_weights(network, weights, spec.labels, initial.spec.labels)
    if settings.training.freeze == "features":
        freeze_features(network)
    return network


def _create_loss(settings: Settings, train: Split, classes: int, device: torch.device) -> Loss:
    weights = None
    if settings.data.class_weights == "auto":
        weights = torch.from_numpy(class_weights(train.labels, classes)).to(device)
    return Loss(settings.training.label_smoothing, weights, settings.distillation.temperature)


def _logit_offsets(
    weight: float | None, split: Split, classes: int, device: torch.device
) -> Tensor | None:
    if weight is None:
        return None
    return torch.from_numpy(weight * np.log(class_frequencies(split, classes))).float().to(device)


def class_frequencies(split: Split, classes: int) -> NDArray[np.float64]:
    """Return the fraction of the images in each class, (classes,) float64.

    An image of several correct classes counts for each in equal parts. A class without images has
    the mean of the others, which favors it as little as it disfavors it.
    """
    allowed = np.eye(classes)[split.labels] if split.allowed is None else split.allowed * 1.0
    sizes = allowed.sum(axis=1, keepdims=True)
    frequencies: NDArray[np.float64] = (allowed / np.maximum(sizes, 1)).sum(axis=0)
    if not frequencies.any():  # there are outliers only, whose logits are not adjusted
        return np.full(classes, 1 / classes)
    frequencies /= frequencies.sum()
    present = frequencies > 0
    return np.where(present, frequencies, frequencies[present].mean())


def class_weights(labels: NDArray[np.uint8], classes: int) -> NDArray[np.float32]:
    """Return n / (classes · n_class) for each class, (classes,) float32.

    A class without images has the weight of one with the mean number of the others: smoothed labels
    and teachers have a probability of it, too, which must not outweigh all others.
    """
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    counts[counts == 0] = counts[counts > 0].mean()
    weights: NDArray[np.float64] = len(labels) / (len(counts) * counts)
    return weights.astype(np.float32)
