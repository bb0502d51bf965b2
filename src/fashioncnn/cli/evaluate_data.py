"""The data of ``fashioncnn evaluate``: what is evaluated, with which classes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fashioncnn.cli.console import note
from fashioncnn.errors import DataError, UsageError

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset, Split
    from fashioncnn.models.trained_model import TrainedModel
    from fashioncnn.runs import RunFolder
    from fashioncnn.settings import Settings

Mapping = dict[str, list[str]]
"""Classes of the model by class of the data."""


def parse_mapping(assignments: list[str], labels: tuple[str, ...]) -> Mapping:
    """Return the classes of the model by class of the data.

    Args:
        assignments: of ``--map``, such as ``shoes=Sandal,Sneaker``.
        labels: class names of the model, which may contain commas.
    """
    mapping: Mapping = {}
    for text in assignments:
        name, equals, target = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--map {text}: should be NAME=CLASS, as in --map pants=Trouser")
        if name in mapping:
            raise UsageError(f"--map {text}: {name} is given twice")
        mapping[name] = [target] if target in labels else _split(target)
    return mapping


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def load_data(
    data: str | None,
    model: TrainedModel,
    run: RunFolder | None,
    *,
    skip_broken: bool,
    offline: bool,
) -> Dataset:
    """Return the data to evaluate on; that which is given has no split to hold out."""
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.data.dataset import is_dataset

    settings = run.settings() if run else None
    dataset = load_for(
        data or _default_source(model, settings),
        model.spec.preprocessing.image_size,
        offline=offline,
        for_evaluation=data is not None,
        skip_broken=skip_broken
        or (data is None and settings is not None and settings.data.skip_broken),
        class_names=model.spec.labels,
        views=model.spec.preprocessing.views,
        channels=model.spec.preprocessing.channels,
        hold_out_min=0 if settings is None else settings.data.hold_out_min,
    )
    if data is not None and not len(dataset.train) and dataset.test is not None:
        dataset = _without_training_images(dataset, dataset.test, model, run)
    if not is_dataset(model.spec.dataset, dataset.name):
        note(f"the model was trained on {model.spec.dataset} and is evaluated on {dataset.name}")
    return dataset


def _without_training_images(
    dataset: Dataset, whole: Split, model: TrainedModel, run: RunFolder | None
) -> Dataset:
    """Return the dataset that is evaluated as a whole, or as the run split it if it is its own."""
    from fashioncnn.data.splits import hold_out_test

    for train, test in (hold_out_test(whole), (whole, None)):
        as_trained = replace(dataset, train=train, test=test)
        if run is not None and is_data_of(run, as_trained):
            note(
                f"{dataset.source}: {run.path} was trained on it; only its test split is evaluated "
                f"({0 if test is None else len(test):,} of {len(whole):,} images)"
            )
            return as_trained
    if dataset.name == model.spec.dataset:
        note(
            f"{dataset.source}: all {len(whole):,} images are evaluated; if the model was trained "
            "on some of them, its accuracy on others is lower"
        )
    return dataset


def with_classes_of(model: TrainedModel, dataset: Dataset, mapping: Mapping) -> Dataset:
    """Return the dataset with the classes of the model; see `align_classes`."""
    from fashioncnn.data.alignment import UnknownClassError, align_classes

    try:
        return align_classes(dataset, model.spec.labels, mapping, note)
    except UnknownClassError as error:
        raise DataError(f"{error} with --map '{error.name}=CLASS'") from None


def _default_source(model: TrainedModel, settings: Settings | None) -> str | None:
    """Return the source of the data that the model was trained on; None is the cache."""
    from fashioncnn.config import source_from_environment
    from fashioncnn.data.dataset import FASHION_MNIST, SKETCHES, is_dataset

    if settings is not None:
        return settings.data.source
    if is_dataset(model.spec.dataset, SKETCHES):
        return SKETCHES
    source = source_from_environment()
    if source is None and not is_dataset(model.spec.dataset, FASHION_MNIST):
        raise UsageError(
            f"the model was trained on '{model.spec.dataset}'; give the folder of this data with "
            "--data"
        )
    return source


def is_data_of(run: RunFolder, dataset: Dataset) -> bool:
    """Return whether a run was trained on the dataset."""
    from fashioncnn.runs import read_json, require_valid

    environment = read_json(run.environment, "data")
    require_valid(run.environment, "environment", environment)
    return bool(environment["data"]["sha256"] == dataset.hashes)
