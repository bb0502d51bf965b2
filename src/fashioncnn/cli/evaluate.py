"""``fashioncnn evaluate``."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.cli.options import Switch, number
from fashioncnn.errors import DataError, QualityGateError, UsageError

if TYPE_CHECKING:
    from fashioncnn.artifacts.model_folder import ModelDescription
    from fashioncnn.data.dataset import Dataset, Split
    from fashioncnn.models.trained_model import TrainedModel
    from fashioncnn.runs import RunFolder
    from fashioncnn.settings import Settings

Metrics = dict[str, Any]


def evaluate(
    model: Path,
    /,
    *,
    data: str | None = None,
    split: Literal["test", "validation"] = "test",
    tta: Literal["auto", "none", "flip"] = "auto",
    network: str | None = None,
    device: str = "auto",
    map_: Annotated[
        list[str] | None, Parameter(name="--map", negative=(), metavar="NAME=CLASS")
    ] = None,
    skip_broken: Switch = False,
    min_accuracy: Annotated[float | None, number(float, minimum=0, maximum=1)] = None,
    offline: Switch = False,
    json: Switch = False,
) -> None:
    """Evaluate a model on one split of the data.

    Args:
        model: A run folder, a model folder, or a bundled model (accurate, photo).
        data: Folder of class folders or IDX files, CSV or .npz file, or sketches. If it has no
            splits, all images are evaluated. Default: the data of the run or model.
        split: The split to evaluate on; validation is the one that the run held out.
        tta: Test-time augmentation; auto is that of the model, flip is the mean over each image
            and its horizontal flip, at twice the cost. A run stores only the metrics for auto.
        network: The code of a custom network, as package.module:Class.
        device: auto, cpu, mps, cuda, or one GPU of several as cuda:1.
        map_: The model's class for a class of the data, as in --map pants=Trouser. Without a class,
            its images are left out. Can be repeated.
        skip_broken: Leave out image files that cannot be read.
        min_accuracy: Required accuracy from 0 to 1; below it, the exit code is 3.
        offline: Do not download data.
        json: Print the metrics as one JSON document.
    """
    from fashioncnn.environment import require_modules

    require_modules("train")
    from fashioncnn.cli.models import load_for

    trained = load_for(model, device, network)
    run = _find_run(model)
    settings = run.settings() if run else None
    dataset = _load_data(data, trained, run, skip_broken=skip_broken, offline=offline)
    dataset = _with_classes_of(trained, dataset, _parse_mapping(map_ or []))
    splits = _splits(model, dataset, settings, split)
    if run is not None and (tta != "auto" or not _is_data_of(run, dataset)):
        run = None  # it stores the metrics of its own data as predict would compute them
    metrics, summary = _evaluate(trained, dataset, splits, split, tta, run, settings)
    _print(metrics, summary, json)
    if min_accuracy is not None and metrics["accuracy"] < min_accuracy:
        raise QualityGateError(
            f"accuracy {metrics['accuracy']:.4f} is below --min-accuracy {min_accuracy:g}"
        )


def _find_run(model: Path) -> RunFolder | None:
    """Return the trained run that `model` is, or whose model folder it is."""
    from fashioncnn.runs import RunFolder

    if not model.exists():  # a bundled model
        return None
    for path in (model, model.resolve().parent):
        run = RunFolder(path)
        if (
            run.trained
            and run.config.exists()
            and (path == model or (run.model.exists() and run.model.samefile(model)))
        ):
            return run
    return None


def _parse_mapping(assignments: list[str]) -> dict[str, list[str]]:
    """Return the classes of the model by class of the data."""
    mapping = {}
    for text in assignments:
        name, equals, target = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--map {text}: should be NAME=CLASS, as in --map pants=Trouser")
        if name in mapping:
            raise UsageError(f"--map {text}: {name} is given twice")
        mapping[name] = [target] if target else []
    return mapping


def _load_data(
    data: str | None,
    model: TrainedModel,
    run: RunFolder | None,
    *,
    skip_broken: bool,
    offline: bool,
) -> Dataset:
    """Return the data to evaluate on; that which is given has no split to hold out."""
    from fashioncnn.cli.datasets import load_for

    settings = run.settings() if run else None
    dataset = load_for(
        data or _default_source(model, settings),
        model.spec.preprocessing.image_size,
        offline=offline,
        for_evaluation=data is not None,
        skip_broken=skip_broken,
        class_names=model.spec.labels,
    )
    if data is not None and not len(dataset.train) and dataset.test is not None:
        dataset = _without_training_images(dataset, dataset.test, model, run)
    if dataset.name != model.spec.dataset:
        note(f"the model was trained on {model.spec.dataset} and is evaluated on {dataset.name}")
    return dataset


def _without_training_images(
    dataset: Dataset, whole: Split, model: TrainedModel, run: RunFolder | None
) -> Dataset:
    """Return the dataset that is evaluated as a whole, or as the run split it if it is its own."""
    from fashioncnn.data.splits import hold_out_test

    train, test = hold_out_test(whole)
    as_trained = replace(dataset, train=train, test=test)
    if run is not None and _is_data_of(run, as_trained):
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


def _with_classes_of(
    model: TrainedModel, dataset: Dataset, mapping: dict[str, list[str]]
) -> Dataset:
    from fashioncnn.data.alignment import UnknownClassError, align_classes

    try:
        return align_classes(dataset, model.spec.labels, mapping, note)
    except UnknownClassError as error:
        raise DataError(f"{error} with --map '{error.name}=CLASS'") from None


def _default_source(model: TrainedModel, settings: Settings | None) -> str | None:
    """Return the source of the data that the model was trained on; None is the cache."""
    from fashioncnn.config import source_from_environment
    from fashioncnn.data.dataset import FASHION_MNIST, SKETCHES

    if settings is not None:
        return settings.data.source
    if model.spec.dataset == SKETCHES:
        return SKETCHES
    source = source_from_environment()
    if source is None and model.spec.dataset != FASHION_MNIST:
        raise UsageError(
            f"the model was trained on '{model.spec.dataset}'; give the folder of this data with "
            "--data"
        )
    return source


def _splits(
    model: Path, dataset: Dataset, settings: Settings | None, split: str
) -> dict[str, Split]:
    """Return all splits that can be evaluated; raise `DataError` if `split` is not one of them."""
    from fashioncnn.inference.evaluate import evaluation_splits

    splits = evaluation_splits(dataset, settings)
    if split not in splits:
        available = (
            f"use --split {' or '.join(splits)}" if splits else "name other data with --data"
        )
        raise DataError(
            f"{model}: no {split} split to evaluate on in {dataset.source}; {available}"
        )
    return splits


def _is_data_of(run: RunFolder, dataset: Dataset) -> bool:
    from fashioncnn.runs import read_json, require_valid

    environment = read_json(run.environment, "data")
    require_valid(run.environment, "environment", environment)
    return bool(environment["data"]["sha256"] == dataset.hashes)


def _evaluate(
    model: TrainedModel,
    dataset: Dataset,
    splits: dict[str, Split],
    split: str,
    tta: Literal["auto", "none", "flip"],
    run: RunFolder | None,
    settings: Settings | None,
) -> tuple[Metrics, Metrics | None]:
    """Return the metrics; for a run, update its files and return its summary as well."""
    from fashioncnn.inference.evaluate import evaluate_split
    from fashioncnn.inference.predictor import Predictor
    from fashioncnn.models.backend import TorchBackend

    precision = str(settings.runtime.precision) if settings else "fp32"
    spec = model.spec if tta == "auto" else model.spec.replace(tta=tta)
    predictor, description = Predictor(TorchBackend(model, precision), spec), model.describe()
    with run.lock() if run else nullcontext():
        metrics = evaluate_split(
            predictor, description, dataset, splits[split], split, run=run, precision=precision
        )
        if run is None or settings is None:
            return metrics if tta != "flip" else {**metrics, "tta": "flip"}, None
        return metrics, _update_run(run, settings, description, metrics, dataset, splits)


def _update_run(
    run: RunFolder,
    settings: Settings,
    description: ModelDescription,
    metrics: Metrics,
    dataset: Dataset,
    splits: dict[str, Split],
) -> Metrics:
    """Update metrics, model card and report of a run if the metrics are new; return the summary."""
    from fashioncnn.artifacts.model_card import model_card
    from fashioncnn.files import write_atomic, write_json
    from fashioncnn.reporting.report import write_run_report

    stored = run.read_metrics()
    if stored[metrics["split"]] != metrics:
        run.report.unlink(missing_ok=True)  # until it shows the new metrics
        stored[metrics["split"]] = metrics
        by_split = {name: stored[name] for name in ("validation", "test")}
        teachers = run.read_environment().get("teachers")
        card = model_card(description, settings, dataset.hashes, by_split, teachers=teachers)
        write_atomic(run.model / "README.md", card.encode())
        write_json(run.metrics, stored)  # after the card, which is written only with new metrics
    if not run.finished:
        write_run_report(run, splits)
    summary: Metrics = stored["summary"]
    return summary


def _print(metrics: Metrics, summary: Metrics | None, json: bool) -> None:
    from fashioncnn.reporting.tables import metrics_tables, summary_table

    if json:
        print_json(metrics)
    else:
        print_tables([*([summary_table(summary)] if summary else []), *metrics_tables(metrics)])
