"""The data of ``fashioncnn evaluate``: what is evaluated, with which classes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fashioncnn.cli.console import note
from fashioncnn.errors import UsageError

if TYPE_CHECKING:
    from fashioncnn.artifacts.spec import ModelSpec
    from fashioncnn.data.alignment import ClassMapping
    from fashioncnn.data.dataset import Dataset, Split
    from fashioncnn.runs import RunFolder
    from fashioncnn.settings import Settings


def load_data(
    data: str | None,
    spec: ModelSpec,
    run: RunFolder | None,
    mapping: ClassMapping,
    required: Collection[str],
    *,
    skip_broken: bool,
    offline: bool,
) -> Dataset:
    """Return the data to evaluate on; that which is given has no split to hold out.

    Args:
        data: its source; None for that of the run or model.
        spec: of the model.
        run: that is evaluated, or None.
        mapping: classes of the model by class of the data.
        required: names in `mapping` that the data has to have.
        skip_broken: leave out image files that cannot be read.
        offline: never download.
    """
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.data.alignment import UnknownClassError, check_names, without_missing
    from fashioncnn.data.dataset import is_dataset

    def check_classes(names: Sequence[str], source: str) -> None:
        check_names(names, spec.labels, without_missing(mapping, names, required)[0], source)

    settings = run.settings() if run else None
    try:
        dataset = load_for(
            data or _default_source(spec, settings),
            spec.preprocessing.image_size,
            offline=offline,
            for_evaluation=data is not None,
            skip_broken=skip_broken
            or (data is None and settings is not None and settings.data.skip_broken),
            class_names=spec.labels,
            views=spec.preprocessing.views,
            channels=spec.preprocessing.channels,
            hold_out_min=0 if settings is None else settings.data.hold_out_min,
            check_classes=check_classes,
        )
    except UnknownClassError as error:
        raise error.with_options() from None
    if data is not None and not len(dataset.train) and dataset.test is not None:
        dataset = _without_training_images(dataset, dataset.test, spec, run, mapping)
    if not is_dataset(spec.dataset, dataset.name):
        note(f"the model was trained on {spec.dataset} and is evaluated on {dataset.name}")
    return dataset


def _without_training_images(
    dataset: Dataset,
    whole: Split,
    spec: ModelSpec,
    run: RunFolder | None,
    mapping: ClassMapping,
) -> Dataset:
    """Return the dataset that is evaluated as a whole, or as the run split it if it is its own."""
    from fashioncnn.data.labels import MIN_CLASSES
    from fashioncnn.data.splits import hold_out_test

    can_be_trained_on = run is not None and len(dataset.class_names) >= MIN_CLASSES
    for train, test in (hold_out_test(whole), (whole, None)) if can_be_trained_on else ():
        as_trained = replace(dataset, train=train, test=test)
        if run is not None and is_data_of(run, as_trained, spec, mapping):
            note(
                f"{dataset.source}: {run.path} was trained on it; only its test split is evaluated "
                f"({0 if test is None else len(test):,} of {len(whole):,} images)"
            )
            return as_trained
    if dataset.name == spec.dataset:
        note(
            f"{dataset.source}: all {len(whole):,} images are evaluated; if the model was trained "
            "on some of them, its accuracy on others is lower"
        )
    return dataset


def with_classes_of(spec: ModelSpec, dataset: Dataset, mapping: ClassMapping) -> Dataset:
    """Return the dataset with the classes of the model; see `align_classes`."""
    from fashioncnn.data.alignment import UnknownClassError, align_classes

    try:
        return align_classes(dataset, spec.labels, mapping, note)
    except UnknownClassError as error:
        raise error.with_options() from None


def _default_source(spec: ModelSpec, settings: Settings | None) -> str | None:
    """Return the source of the data that the model was trained on; None is the cache."""
    from fashioncnn.config import source_from_environment
    from fashioncnn.data.dataset import FASHION_MNIST, SKETCHES, is_dataset

    if settings is not None:
        return settings.data.source
    if is_dataset(spec.dataset, SKETCHES):
        return SKETCHES
    source = source_from_environment()
    if source is None and not is_dataset(spec.dataset, FASHION_MNIST):
        raise UsageError(
            f"the model was trained on '{spec.dataset}'; give the folder of this data with --data"
        )
    return source


def is_data_of(
    run: RunFolder,
    dataset: Dataset,
    spec: ModelSpec | None = None,
    mapping: ClassMapping | None = None,
) -> bool:
    """Return whether a run was trained on the dataset.

    Args:
        run: that is evaluated.
        dataset: as it is evaluated; with `mapping`, before its classes are mapped.
        spec: of the run's model, for `mapping`.
        mapping: classes of the model by class of the data; those of others have no effect.
    """
    from fashioncnn.data.alignment import UnknownClassError, align_classes
    from fashioncnn.runs import read_json, require_valid

    if spec is not None and mapping:
        try:
            present = {n: mapping[n] for n in mapping if n in dataset.class_names}
            dataset = align_classes(dataset, spec.labels, present)
        except UnknownClassError:
            return False
    environment = read_json(run.environment, "data")
    require_valid(run.environment, "environment", environment)
    return bool(environment["data"]["sha256"] == dataset.hashes)
