"""What is rejected before a training starts: settings that contradict the data or each other."""

from __future__ import annotations

from torch import nn

from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.errors import DataError, UsageError
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.models.transfer import check_transfer
from fashioncnn.settings import Settings
from fashioncnn.training.calibration import needs_cross_validation


def check_freeze(settings: Settings, initial: TrainedModel | None) -> None:
    """Raise `UsageError` if layers are frozen that have no weights of a model."""
    freeze = settings.training.freeze
    if freeze != "none" and initial is None:
        raise UsageError(
            f"freeze = '{freeze}': only for a training that starts from the weights of a model"
        )


def check_no_teachers(settings: Settings) -> None:
    """Raise `UsageError` if a training that starts from a model should train teachers first."""
    if settings.distillation.ensemble_size:
        raise UsageError(
            f"distillation.ensemble_size = {settings.distillation.ensemble_size}: teachers are "
            "trained from scratch, which --from contradicts; --set distillation.ensemble_size=0"
        )


def check_patience(settings: Settings, held_out: int) -> None:
    """Raise `UsageError` if early stopping has no validation split; `held_out` is its size."""
    patience = settings.training.patience
    if patience and not held_out:
        raise UsageError(
            f"patience = {patience}: early stopping needs a validation split; set validation above "
            "0, for example to auto"
        )


def check_calibration(settings: Settings, n: int) -> None:
    """Raise `UsageError` if `n` images cannot be divided for a cross-validation that is needed.

    Args:
        settings: resolved.
        n: images to train on.
    """
    if not needs_cross_validation(settings):
        return
    folds = settings.training.calibration_folds
    if min(folds, n) < 2:
        reason = "a cross-validation needs at least 2" if folds < 2 else f"there is only {n} image"
        raise UsageError(f"training.calibration_folds = {folds}: {reason}; set it to 0 for none")


def check_classes(
    settings: Settings, dataset: Dataset, train: Split, validation: Split | None
) -> None:
    """Raise `DataError` if all images of a split are outside of the classes where one is needed.

    Args:
        settings: of the run.
        dataset: to train on.
        train: the images to train on.
        validation: held out, or None.
    """
    held_out = "hold out more images, or none (--validation 0)"
    if dataset.validation is not None:
        held_out = "add images of the classes to it"
    splits = {
        "training": (train, "map a class of the data to a class of the model"),
        "validation": (validation, held_out),
        "test": (dataset.test, "train with --no-track-test"),
    }
    if dataset.rehearsal is not None:
        del splits["training"]
    if not settings.training.track_test:
        del splits["test"]
    for name, (split, remedy) in splits.items():
        if split is not None and not split.in_classes.any():
            raise DataError(
                f"{dataset.source}: no image of the {name} split belongs to a class of the model; "
                f"{remedy}"
            )


def check_data(settings: Settings, dataset: Dataset) -> None:
    """Reject settings that this data does not allow.

    Raises:
        UsageError: the message names the setting.
        DataError: there are no training images, or there is no test split to track.
    """
    data, size = settings.data, dataset.require_train().images.shape[1]
    if data.image_size not in (None, size):
        raise UsageError(
            f"image_size = {data.image_size}: only images of class folders are resized; those of "
            f"{dataset.source} are {size}×{size}"
        )
    if dataset.views != "fashion" and data.views not in ("auto", dataset.views):
        raise UsageError(
            f"data.views = '{data.views}': the images of {dataset.source} were loaded as "
            f"'{dataset.views}'; give the folder, file or arrays instead of a Dataset, which are "
            f"then loaded as '{data.views}'"
        )
    _check_channels(settings, dataset)
    _check_partial_labels(settings, dataset)
    if settings.augmentation.shift >= size:
        raise UsageError(
            f"augmentation.shift = {settings.augmentation.shift}: should be less than the image "
            f"side, {size}"
        )
    if settings.training.track_test and dataset.test is None:
        raise DataError(f"{dataset.source}: no test split; add one, or train with --no-track-test")


def _check_partial_labels(settings: Settings, dataset: Dataset) -> None:
    """Reject what is not defined for images of several classes or of none."""
    adjustment = settings.training.logit_adjustment
    if adjustment is not None and not settings.distillation.is_off:
        raise UsageError(
            f"training.logit_adjustment = {adjustment:g}: not possible together with distillation, "
            "whose teachers see no class frequencies; remove one of them"
        )
    if dataset.train.allowed is None and dataset.rehearsal is None:
        return
    _check_rehearsal(settings.data.rehearsal, dataset)
    augmentation, data = settings.augmentation, settings.data
    rejected = {
        f"augmentation.mixup = {augmentation.mixup:g}": augmentation.mixup > 0,
        f"augmentation.cutmix = {augmentation.cutmix:g}": augmentation.cutmix > 0,
        f"data.class_weights = '{data.class_weights}'": data.class_weights != "none",
        f"data.label_noise = {data.label_noise:g}": data.label_noise > 0,
        "distillation": not settings.distillation.is_off,
    }
    for setting, is_given in rejected.items():
        if is_given:
            what = "partial labels" if dataset.train.allowed is not None else "data.rehearsal"
            raise UsageError(f"{setting}: not possible together with {what}; switch it off")


def _check_rehearsal(added: int | None, dataset: Dataset) -> None:
    rehearsal = dataset.rehearsal
    if rehearsal is None:
        return
    if not added or added > len(rehearsal):
        raise UsageError(
            f"data.rehearsal = {added}: should be from 1 to {len(rehearsal):,}, the number of "
            "images that there are"
        )


def _check_channels(settings: Settings, dataset: Dataset) -> None:
    augmentation = settings.augmentation
    if settings.data.channels > dataset.channels:
        raise UsageError(
            f"channels = {settings.data.channels}: the images of {dataset.source} are grayscale; "
            "only image files are read in color"
        )
    if dataset.channels == 3 and augmentation.photograph + augmentation.outlier_exposure > 0:
        raise UsageError(
            "augmentation.photograph and augmentation.outlier_exposure: only for grayscale images; "
            "set both to 0"
        )


def check_weights(network: nn.Module, initial: TrainedModel, dataset: Dataset) -> None:
    """Raise `UsageError` if the weights of `initial` do not fit the images and the network."""
    preprocessing, channels = initial.spec.preprocessing, dataset.channels
    if channels != preprocessing.channels:
        raise UsageError(
            f"channels = {channels}: the model to start from takes {preprocessing.channels}"
        )
    try:
        weights = initial.network.state_dict()
        check_transfer(network, weights, dataset.class_names, initial.spec.labels)
    except UsageError:
        if dataset.image_size == preprocessing.image_size:
            raise
        raise UsageError(
            f"image_size = {dataset.image_size}: the weights of {initial.spec.architecture.name} "
            f"fit only images of {preprocessing.image_size}×{preprocessing.image_size}"
        ) from None
