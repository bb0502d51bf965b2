"""Data for training and evaluation, from whatever the user passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.api.arrays import images_to_predict, plain_images, side_of
from fashioncnn.api.labels import classes_as_given
from fashioncnn.api.messages import python_messages
from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.config import source_from_environment
from fashioncnn.data import load
from fashioncnn.data.alignment import align_classes
from fashioncnn.data.dataset import FASHION_MNIST, IN_MEMORY, SKETCHES, Dataset, Split
from fashioncnn.data.image_files import split_of_views
from fashioncnn.data.labels import distinct_labels, encode_labels, is_tensor
from fashioncnn.data.options import LoadOptions, load_arguments, warn
from fashioncnn.data.pixels import DEFAULT_IMAGE_SIZE
from fashioncnn.data.splits import hold_out_test
from fashioncnn.data.tables import given_labels, read_objects
from fashioncnn.errors import DataError, UsageError
from fashioncnn.inference.arrays import as_views
from fashioncnn.inference.evaluate import check_compatible
from fashioncnn.settings import DataConfig, Settings

PAIR = 2
"""Images and labels."""


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
        image_size: side in pixels to which images are resized.
        offline: never download.
        skip_broken: leave out image files that cannot be read, with a warning.

    Raises:
        UsageError: `source` does not exist, or is of an unsupported type.
        DataError: the data is damaged or incomplete.
    """
    _reject_empty(source)
    return load.load_data(
        source_from_environment() if source is None else source,
        image_size=image_size,
        offline=offline,
        skip_broken=skip_broken,
    )


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
    if isinstance(data, tuple) and len(data) == PAIR and not isinstance(data[1], tuple):
        images, labels = data
        dataset = dataset_in_memory(images, labels, distinct_labels(labels), settings.data)
        given = classes_as_given(labels, dataset.class_names)
        mapped = load.with_class_map(dataset, arguments["class_map"])
        return mapped, given if mapped is dataset else None
    dataset = load.load_data(data, **arguments)
    labels = given_labels(data) if arguments["class_map"] is None else None
    names = dataset.class_names
    return dataset, classes_as_given(names if labels is None else labels, names)


def dataset_in_memory(
    images: Any, labels: Any, class_names: Sequence[str], config: DataConfig
) -> Dataset:
    """Return the dataset of images and labels, converted as the settings say.

    Args:
        images: see `fashioncnn.data.pixels.to_images`, frames as well; with other views than
            ``plain``, see `fashioncnn.inference.arrays.as_views`.
        labels: (n,) integers, strings or booleans.
        class_names: by code.
        config: image size, views and channels.

    Raises:
        DataError: images and labels do not match, or cannot be used.
        UsageError: a type is not supported.
    """
    images = plain_images(images)
    views = "plain" if config.views == "auto" else config.views
    if views == "plain":
        return Dataset.from_arrays(
            images,
            labels,
            class_names=class_names,
            image_size=config.image_size,
            channels=config.channels,
        )
    size = config.image_size or side_of(images) or DEFAULT_IMAGE_SIZE
    preprocessing = Preprocessing(size, 0.0, 1.0, views, config.channels)
    converted = as_views(images_to_predict(images, size, None), preprocessing)
    codes = encode_labels(labels, tuple(class_names))
    if len(converted) != len(codes):
        raise DataError(f"{len(converted):,} images but {len(codes):,} labels")
    split = split_of_views(converted, codes)
    return Dataset("arrays", tuple(class_names), split, None, views, IN_MEMORY)


def evaluation_data(data: Any, spec: ModelSpec, trained_on: str | None) -> tuple[Dataset, Split]:
    """Return the dataset that is given, with the classes of a model, and its test split.

    A source without splits is a test split as a whole, apart from images of the training.

    Args:
        data: see `load_data`; None is the dataset of the model if that has a name.
        spec: of the model.
        trained_on: SHA-256 of the training split, if it is known.

    Raises:
        UsageError: `data` is of another type.
        DataError: it has no test split, or does not fit the model.
    """
    _reject_empty(data)
    if isinstance(data, Dataset):
        check_compatible(spec, data)
        return data, data.require_test()
    size = spec.preprocessing.image_size
    if data is None or isinstance(data, str | Path):
        dataset = load.load_dataset(
            _default_source(spec) if data is None else str(data),
            image_size=size,
            for_evaluation=True,
            class_names=spec.labels,
            views=spec.preprocessing.views,
            channels=spec.preprocessing.channels,
        )
    elif isinstance(data, np.ndarray | list | bytes) or is_tensor(data):
        raise UsageError(f"Classifier.evaluate: labels are missing for the {type(data).__name__}")
    else:
        options = LoadOptions(size, for_evaluation=True, class_names=spec.labels)
        dataset = read_objects(data, options)
    test = dataset.require_test()
    if not len(dataset.train) and trained_on is not None:
        train, held_out = hold_out_test(test)
        if train.sha256 == trained_on and held_out is not None:
            dataset, test = replace(dataset, train=train, test=held_out), held_out
    dataset = align_classes(dataset, spec.labels, notify=warn)
    check_compatible(spec, dataset)
    return dataset, dataset.require_test()


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
