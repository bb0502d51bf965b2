"""``fashioncnn evaluate``."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fashioncnn.cli.class_map import ClassMapOption
from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.cli.options import Backend, Switch, number
from fashioncnn.errors import DataError, MissingExtraError, QualityGateError, UsageError

if TYPE_CHECKING:
    from fashioncnn.artifacts.model_folder import ModelDescription
    from fashioncnn.artifacts.spec import ModelSpec
    from fashioncnn.data.alignment import ClassMapping
    from fashioncnn.data.dataset import Dataset, Split
    from fashioncnn.inference.predictor import Predictions, Predictor
    from fashioncnn.loading import LoadedModel
    from fashioncnn.runs import RunFolder
    from fashioncnn.settings import Settings

Metrics = dict[str, Any]
TTA = Literal["auto", "none", "flip"]


def evaluate(
    model: Path,
    /,
    *,
    data: str | None = None,
    split: Literal["test", "validation"] = "test",
    tta: TTA = "auto",
    backend: Backend = "auto",
    network: str | None = None,
    device: str = "auto",
    map_: ClassMapOption = None,
    skip_broken: Switch = False,
    page: Path | None = None,
    min_accuracy: Annotated[float | None, number(float, minimum=0, maximum=1)] = None,
    offline: Switch = False,
    json: Switch = False,
) -> None:
    """Evaluate a model on one split of the data.

    Args:
        model: A run folder, a group of runs, a model folder, an .onnx file, or a bundled model
            (accurate, medium, photo, photo-zero-shot).
        data: Folder of class folders or IDX files, CSV or .npz file, or sketches. If it has no
            splits, all images are evaluated. Default: the data of the run or model.
        split: The split to evaluate on; validation is the one that the run held out.
        tta: Test-time augmentation; auto is that of the model, flip is the mean over each image
            and its horizontal flip, at twice the cost. A run stores only the metrics for auto.
        backend: onnx is ONNX Runtime, torch is PyTorch; auto is onnx if the model has an ONNX
            file, else torch. The metrics of an int8
            file are not stored in its run.
        network: The code of a custom network, as package.module:Class, for torch.
        device: auto, cpu, mps, cuda, or one GPU of several as cuda:1. Others than cpu need torch.
        map_: The model's class for a class of the data, as in --map pants=Trouser. Of several, as
            in --map shoes=Sandal,Sneaker, each is correct; without any, as in --map hat=, the
            images are outside of the classes, and the confidence should be low.
        skip_broken: Leave out image files that cannot be read.
        page: Write an HTML page with the metrics, accuracy against coverage and the most confident
            mistakes.
        min_accuracy: Required accuracy from 0 to 1; below it, the exit code is 3.
        offline: Do not download data.
        json: Print the metrics as one JSON document.
    """
    from fashioncnn.environment import require_modules
    from fashioncnn.groups import is_group

    if page is not None:
        _check_page(page)
    mapping = tuple(map_ or [])
    load = Loading(
        data, backend, device, network, mapping, skip_broken=skip_broken, offline=offline
    )
    if is_group(model):
        require_modules("report")
        if page is not None:
            raise UsageError(f"--page {page}: of one run, not of a group; name one of its runs")
        from fashioncnn.cli.evaluate_group import evaluate_group

        accuracy = evaluate_group(model, split, tta, load, json)
    else:
        metrics, summary = evaluate_one(model, split, tta, load, page)
        _print(metrics, summary, json)
        accuracy = metrics["accuracy"]
    if min_accuracy is not None and accuracy < min_accuracy:
        raise QualityGateError(f"accuracy {accuracy:.4f} is below --min-accuracy {min_accuracy:g}")


@dataclass(frozen=True)
class Loading:
    """How model and data are loaded; see `evaluate`."""

    data: str | None
    backend: Backend
    device: str
    network: str | None
    mapping: tuple[str, ...]
    skip_broken: bool
    offline: bool


def evaluate_one(
    model: Path, split: str, tta: TTA, load: Loading, page: Path | None = None
) -> tuple[Metrics, Metrics | None]:
    """Return the metrics of one model; for a run, update its files and return its summary, too.

    Args:
        model: see `evaluate`.
        split: see `evaluate`.
        tta: see `evaluate`.
        load: see `evaluate`.
        page: HTML file to write, or None.
    """
    from fashioncnn.cli.class_map import mapping_of_files, mapping_of_names
    from fashioncnn.cli.evaluate_data import is_data_of, load_data, with_classes_of
    from fashioncnn.cli.models import load_for
    from fashioncnn.inference.evaluate import check_split, confidence_metrics
    from fashioncnn.inference.predictor import Predictor

    loaded = load_for(model, load.backend, load.device, load.network)
    run = _find_run(model)
    if run is not None:
        run.require_intact()
    settings = run.settings() if run else None
    spec = loaded.spec
    own: ClassMapping = {} if settings is None else settings.data.map or {}
    of_files = mapping_of_files(load.mapping)
    of_names = mapping_of_names(load.mapping, spec.labels)
    optional: ClassMapping = {**own, **of_files}
    data = load_data(
        load.data,
        spec,
        run,
        {**optional, **of_names},
        of_names,
        skip_broken=load.skip_broken,
        offline=load.offline,
    )
    present = {name: optional[name] for name in optional if name in data.class_names}
    if missing := [name for name in of_files if name not in {*present, *of_names}]:
        note(f"{data.source}: has no class {', '.join(missing)}, which --map names")
    dataset = with_classes_of(spec, data, {**present, **of_names})
    splits = _splits(model, dataset, settings, split)
    if settings is not None:
        loaded = loaded.in_precision(settings.runtime.precision)
    if run is not None and (tta != "auto" or load.mapping or not is_data_of(run, dataset)):
        run = None  # it stores the metrics of its own data as predict would compute them
    if run is not None and not _can_store(run, loaded):
        run = None
    is_other = load.data is not None and run is None
    spec = loaded.spec if tta == "auto" else loaded.spec.replace(tta=tta)
    predictor, predictions = Predictor(loaded.predictor.backend, spec), None
    if is_other or page is not None:
        check_split(spec, dataset, splits[split], split)
        predictions = predictor.predict_views(splits[split].all_views)
    metrics, summary = _evaluate(
        loaded, predictor, predictions, dataset, splits, split, run, settings
    )
    if tta == "flip":
        metrics["tta"] = tta
    if predictions is not None and is_other:
        metrics |= confidence_metrics(predictions, splits[split], spec.abstain_below)
    if predictions is not None and page is not None:
        _write_page(page, metrics, predictions, splits[split], spec)
    return metrics, summary


def _check_page(path: Path) -> None:
    """Reject a page that cannot be written, or that would replace another file."""
    from fashioncnn.cli.file_errors import check_file
    from fashioncnn.environment import require_modules
    from fashioncnn.reporting.own_files import require_own

    require_modules("report")
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--page {path}: should end in .html")
    check_file("--page", path)
    require_own(path, "name another file")


def _write_page(
    path: Path, metrics: Metrics, predictions: Predictions, split: Split, spec: ModelSpec
) -> None:
    """Write the page of one evaluation."""
    from fashioncnn.inference.evaluate import confidence_metrics
    from fashioncnn.reporting.evaluation_page import write_evaluation_page

    confidence = confidence_metrics(predictions, split, spec.abstain_below)
    write_evaluation_page(path, {**metrics, **confidence}, predictions, split, spec.labels)
    note(f"page: {path}")


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


def _can_store(run: RunFolder, model: LoadedModel) -> bool:
    """Return whether metrics can be stored in a run; print a note if packages are missing."""
    from fashioncnn.environment import require_modules

    if model.precision != run.settings().runtime.precision:  # other weights, or other rounding
        return False
    try:
        require_modules("report")
    except MissingExtraError as error:
        note(f"{run.path}: the metrics are not stored, since its report cannot be drawn ({error})")
        return False
    return True


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


def _evaluate(
    model: LoadedModel,
    predictor: Predictor,
    predictions: Predictions | None,
    dataset: Dataset,
    splits: dict[str, Split],
    split: str,
    run: RunFolder | None,
    settings: Settings | None,
) -> tuple[Metrics, Metrics | None]:
    """Return the metrics; for a run, update its files and return its summary as well."""
    from fashioncnn.inference.evaluate import evaluate_split

    description = model.description
    with run.lock() if run else nullcontext():
        metrics = evaluate_split(
            predictor,
            description,
            dataset,
            splits[split],
            split,
            run=run,
            precision=model.precision,
            predictions=predictions,
        )
        if run is None or settings is None:
            return metrics, None
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
    from fashioncnn.artifacts.model_card import model_card, training_notes
    from fashioncnn.files import write_atomic
    from fashioncnn.reporting.report import write_run_report

    stored = run.read_metrics()
    if stored[metrics["split"]] != metrics:
        run.report.unlink(missing_ok=True)  # until it shows the new metrics
        stored[metrics["split"]] = metrics
        by_split = {name: stored[name] for name in ("validation", "test")}
        teachers = run.read_environment().get("teachers")
        notes = training_notes(settings, stored["summary"])
        card = model_card(description, settings, dataset.hashes, by_split, notes, teachers)
        write_atomic(run.model / "README.md", card.encode())
        run.write_metrics(stored)  # after the card, which is written only with new metrics
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
