"""Data for training and evaluation, from whatever the user passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fashioncnn.api.arrays import plain_images
from fashioncnn.api.labels import classes_as_given
from fashioncnn.api.messages import python_messages
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.config import resolve
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.load import load_dataset
from fashioncnn.errors import UsageError
from fashioncnn.inference.evaluate import check_compatible
from fashioncnn.settings import Settings

PAIR = 2
"""Images and labels."""


@python_messages()
def load_data(source: Any = None, labels: Any = None, *, image_size: int | None = None) -> Dataset:
    """Return a dataset.

    >>> dataset = load_data("sketches")
    >>> dataset = load_data(images, labels)

    Args:
        source: ``"sketches"``, a folder, or images as for `Classifier.fit`; None searches where the
            command line does.
        labels: of the images.
        image_size: side in pixels to which images are resized.

    Raises:
        UsageError: an argument is of an unsupported type, or there is no such folder.
        DataError: the data is damaged or incomplete.
    """
    if labels is not None:
        return Dataset.from_arrays(plain_images(source), labels, image_size=image_size)
    name = str(source) if isinstance(source, str | Path) else None
    settings = resolve(flags={"data": name, "image_size": image_size})
    return dataset_to_train_on(source, settings)[0]


def dataset_to_train_on(data: Any, settings: Settings) -> tuple[Dataset, NDArray[Any] | None]:
    """Return the dataset that is given, and its classes if the user gave labels.

    Args:
        data: a `Dataset`; a pair of images and labels; a source by name; or None for the one in
            the settings.
        settings: with ``data.source`` and ``data.image_size``.

    Raises:
        UsageError: `data` is of another type.
    """
    if isinstance(data, Dataset):
        return data, None
    if isinstance(data, tuple) and len(data) == PAIR:
        images, labels = data
        dataset = Dataset.from_arrays(
            plain_images(images), labels, image_size=settings.data.image_size
        )
        return dataset, classes_as_given(labels, dataset.class_names)
    if data is None or (isinstance(data, str | Path) and str(data)):
        return load_dataset(settings.data.source, image_size=settings.data.image_size), None
    raise UsageError(
        f"data of type {type(data).__name__}: should be a folder, 'sketches', a Dataset, or a pair "
        "of images and labels"
    )


def evaluation_data(data: Any, spec: ModelSpec) -> tuple[Dataset, Split]:
    """Return the dataset that is given and its test split.

    Args:
        data: a `Dataset`, a source by name, or None for Fashion-MNIST.
        spec: of the model.

    Raises:
        UsageError: `data` is of another type.
        DataError: it has no test split, or does not fit the model.
    """
    if isinstance(data, Dataset):
        dataset = data
    elif data is None or (isinstance(data, str | Path) and str(data)):
        source = resolve(flags={"data": data and str(data)}).data.source
        dataset = load_dataset(source, image_size=spec.preprocessing.image_size)
    else:
        raise UsageError("Classifier.evaluate: labels are missing")
    check_compatible(spec, dataset)
    return dataset, dataset.require_test()
