"""Data for training and evaluation, from whatever the user passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.api.arguments import require_bool
from fashioncnn.api.labels import classes_as_given
from fashioncnn.api.messages import python_messages
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.config import source_from_environment
from fashioncnn.data import load
from fashioncnn.data.alignment import UnknownClassError, align_classes
from fashioncnn.data.containers import plain_images
from fashioncnn.data.dataset import FASHION_MNIST, IN_MEMORY, SKETCHES, Dataset, Split
from fashioncnn.data.idx_folders import find_idx_files
from fashioncnn.data.labels import distinct_labels
from fashioncnn.data.npz import ALL
from fashioncnn.data.options import LoadOptions, load_arguments, warn
from fashioncnn.data.pixels import check_image_size
from fashioncnn.data.splits import hold_out_test
from fashioncnn.data.tables import (
    dataset_of_objects,
    objects_by_split,
    read_objects,
    split_of_images,
)
from fashioncnn.errors import DataError, UsageError
from fashioncnn.images.tensors import is_tensor
from fashioncnn.inference.evaluate import check_compatible
from fashioncnn.settings import DataConfig, Settings


@python_messages()
def load_data(
    source: Any = None,
    *,
    image_size: int | None = None,
    offline: bool = False,
    skip_broken: bool = False,
) -> Dataset:
    """Return a dataset, for training or to look at.

    Examples:
        >>> dataset = load_data("closet/")
        >>> dataset = load_data((images, labels))

    Args:
        source: ``"sketches"``; a folder, CSV file or NumPy archive, as for ``--data``; a pair of
            images and labels; a data frame; a dataset of PyTorch; or None for Fashion-MNIST, which
            is searched where the command line does.
        image_size: side in pixels to which image files, tables and arrays are resized.
        offline: never download.
        skip_broken: leave out image files that cannot be read, with a warning.

    Raises:
        UsageError: `source` does not exist, or is of an unsupported type, or its images are not
            resized.
        DataError: the data is damaged or incomplete.
    """
    _reject_empty(source)
    require_bool("offline", offline)
    require_bool("skip_broken", skip_broken)
    check_image_size(image_size)
    dataset = load.load_data(
        source_from_environment() if source is None else source,
        image_size=image_size,
        offline=offline,
        skip_broken=skip_broken,
    )
    if image_size not in (None, dataset.image_size):
        size = dataset.image_size
        raise UsageError(
            f"image_size = {image_size}: only image files, tables and arrays are resized; images "
            f"of {dataset.source} are {size}×{size}; omit it"
        )
    return dataset


def dataset_to_train_on(data: Any, settings: Settings) -> tuple[Dataset, NDArray[Any] | None]:
    """Return the dataset that is given, and its classes if the user gave labels in memory.

    Args:
        data: see `load_data`; None is the source in the settings.
        settings: those under ``data`` say how images are converted.

    Raises:
        UsageError: `data` is of an unsupported type.
    """
    _reject_empty(data)
    arguments = load_arguments(settings.data)
    if isinstance(data, Dataset):
        return load.with_class_map(data, arguments["class_map"]), None
    if data is None or isinstance(data, str | Path):
        source = settings.data.source if data is None else str(data)
        return load.load_data(source, **arguments), None
    options = _options(settings.data)
    pairs, names = objects_by_split(data, options)
    if set(pairs) == {ALL} and names is None and isinstance(data, tuple | list):
        images, labels = pairs[ALL]
        dataset = dataset_in_memory(images, labels, distinct_labels(labels), settings.data)
    else:
        dataset = dataset_of_objects(pairs, names, options)
        labels = next(iter(pairs.values()))[1] if names is None else names
    given = classes_as_given(labels, dataset.class_names)
    mapped = load.with_class_map(dataset, arguments["class_map"])
    return mapped, given if mapped is dataset else None


def dataset_in_memory(
    images: Any, labels: Any, class_names: Sequence[str], config: DataConfig
) -> Dataset:
    """Return the dataset of images and labels, converted as the settings say.

    Args:
        images: see `fashioncnn.data.pixels.to_images`, frames as well; with an image size, arrays
            of different shapes as well.
        labels: (n,) integers, strings or booleans.
        class_names: by code.
        config: image size, views, channels, and whether to leave out broken files.

    Raises:
        DataError: images and labels do not match, or cannot be used.
        ImageError: files cannot be read; all of them are listed.
        UsageError: a type is not supported.
    """
    images, names, options = plain_images(images), tuple(class_names), _options(config)
    split = split_of_images(images, labels, names, "", options)
    return Dataset("arrays", names, split, None, options.views, IN_MEMORY)


def reject_class_map(config: DataConfig) -> None:
    """Raise `UsageError` for settings that give images other classes than `fit` gets."""
    given = {"map": config.map, "classes": config.classes, "rehearsal": config.rehearsal}
    names = [f"data.{name}" for name, value in given.items() if value]
    if names:
        raise UsageError(
            f"Classifier.fit: {', '.join(names)} change the classes of the labels; use "
            "Classifier.train(data=(X, y), …) instead"
        )


def _options(config: DataConfig) -> LoadOptions:
    return LoadOptions(
        config.image_size,
        skip_broken=config.skip_broken,
        views="plain" if config.views == "auto" else config.views,
        channels=config.channels,
    )


def evaluation_data(
    data: Any, spec: ModelSpec, trained_on: str | None, *, skip_broken: bool = False
) -> tuple[Dataset, Split]:
    """Return the dataset that is given, with the classes of a model, and its test split.

    A source without splits is a test split as a whole, apart from images of the training.

    Args:
        data: see `load_data`; None is the dataset of the model if that has a name.
        spec: of the model.
        trained_on: SHA-256 of the training split, if it is known.
        skip_broken: leave out image files that cannot be read, with a warning.

    Raises:
        UsageError: `data` is of another type.
        DataError: it has no test split, or does not fit the model.
    """
    _reject_empty(data)
    preprocessing = spec.preprocessing
    if isinstance(data, Dataset):
        _check_views(data, preprocessing.views)
        check_compatible(spec, data)
        return data, data.require_test()
    options = LoadOptions(
        preprocessing.image_size,
        for_evaluation=True,
        skip_broken=skip_broken,
        class_names=spec.labels,
        views=preprocessing.views,
        channels=preprocessing.channels,
    )
    if data is None or isinstance(data, str | Path):
        source = _default_source(spec) if data is None else str(data)
        dataset = load.load_with(source, options)
    elif isinstance(data, np.ndarray | list | bytes) or is_tensor(data):
        raise UsageError(f"Classifier.evaluate: labels are missing for the {type(data).__name__}")
    else:
        dataset = read_objects(data, options)
    test = dataset.require_test()
    if not len(dataset.train) and trained_on is not None:
        train, held_out = hold_out_test(test)
        if train.sha256 == trained_on and held_out is not None:
            dataset, test = replace(dataset, train=train, test=held_out), held_out
    try:
        dataset = align_classes(dataset, spec.labels, notify=warn)
    except UnknownClassError as error:
        remedy = "rename {it}, or leave {it} out"
        raise UnknownClassError(error.source, error.names, spec.labels, remedy) from None
    check_compatible(spec, dataset)
    return dataset, dataset.require_test()


def _check_views(dataset: Dataset, views: str) -> None:
    """Raise `DataError` for image files that were converted otherwise than the model does it."""
    is_of_files = dataset.views != "fashion" and Path(dataset.source).is_dir()
    if is_of_files and dataset.views != views and not find_idx_files(Path(dataset.source)):
        raise DataError(
            f"{dataset.source}: its images were loaded as '{dataset.views}', but the model reads "
            f"image files as '{views}'; give the folder itself instead of a Dataset"
        )


def _default_source(spec: ModelSpec) -> str | None:
    """Return the source of the data that the model was trained on; None is the cache."""
    if spec.dataset == SKETCHES:
        return SKETCHES
    if spec.dataset != FASHION_MNIST:
        raise UsageError(
            f"Classifier.evaluate: no data; the model was trained on '{spec.dataset}', so name "
            "the data to evaluate on"
        )
    return source_from_environment()


def _reject_empty(source: Any) -> None:
    if isinstance(source, str) and not source:
        raise UsageError("data of type str is empty: should name a folder or 'sketches'")
