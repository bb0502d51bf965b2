"""Data for training and evaluation, from whatever the user passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.api.labels import classes_as_given
from fashioncnn.api.messages import python_messages
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.config import source_from_environment
from fashioncnn.data import load
from fashioncnn.data.alignment import align_classes
from fashioncnn.data.dataset import FASHION_MNIST, SKETCHES, Dataset, Split
from fashioncnn.data.options import LoadOptions, load_arguments, warn
from fashioncnn.data.splits import hold_out_test
from fashioncnn.data.tables import read_objects
from fashioncnn.errors import UsageError
from fashioncnn.inference.evaluate import check_compatible
from fashioncnn.settings import Settings

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
        settings: with ``data.source`` and how it is loaded.

    Raises:
        UsageError: `data` is of an unsupported type.
    """
    if data is None:
        return load.load_data(settings.data.source, **load_arguments(settings.data)), None
    _reject_empty(data)
    dataset = load.load_data(data, **load_arguments(settings.data))
    if isinstance(data, str | Path | Dataset):
        return dataset, None
    is_pair = isinstance(data, tuple) and len(data) == PAIR
    labels = data[1] if is_pair and not isinstance(data[1], tuple) else dataset.class_names
    return dataset, classes_as_given(labels, dataset.class_names)


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
        )
    elif isinstance(data, np.ndarray | list | bytes) or hasattr(data, "detach"):
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
