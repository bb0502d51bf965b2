"""``fashioncnn evaluate``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.errors import DataError, QualityGateError, UsageError

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset, Split
    from fashioncnn.models.trained_model import TrainedModel
    from fashioncnn.runs import RunFolder
    from fashioncnn.settings import Settings


def evaluate(
    model: Path,
    /,
    *,
    data: str | None = None,
    split: Literal["test", "validation"] = "test",
    tta: Literal["none", "flip"] = "none",
    device: str = "auto",
    min_accuracy: float | None = None,
    offline: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Judge a run or model on one part of the data.

    Parameters
    ----------
    model
        A run folder, a model folder, or the name of a model that comes with the package
        (accurate, photo).
    data
        As for train. Default: the data that the run learnt from.
    split
        The part to judge on; validation is the part that the run held out.
    tta
        Test-time augmentation: flip takes the mean of the answers for each image and its mirror
        image, at twice the work. The run's own judgements stay without it.
    device
        auto, cpu, cuda, cuda:1, mps.
    min_accuracy
        A bound in [0, 1]; below it the exit code is 3.
    offline
        Never download.
    json
        Print the judgement as one JSON document.
    """
    if min_accuracy is not None and not 0 <= min_accuracy <= 1:
        raise UsageError(f"--min-accuracy {min_accuracy:g}: must be from 0 to 1, as in 0.92")
    from fashioncnn.runtime import prepare_prediction, require_train_extra

    require_train_extra()
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.evaluation.evaluate import evaluate_model, evaluation_splits
    from fashioncnn.models.trained_model import load_model
    from fashioncnn.reporting.tables import metrics_tables, summary_table

    trained = load_model(model, prepare_prediction(device))
    run = _run_of(model)
    settings = run.settings() if run else None
    source = data or _source_of(trained, settings)
    dataset = load_for(source, trained.preprocessing.image_size, offline=offline)
    if dataset.name != trained.dataset:
        note(f"the model learnt from {trained.dataset} and is judged on {dataset.name}")
    parts = evaluation_splits(dataset, settings)
    if split not in parts:
        raise DataError(f"{model}: has no {split} part to judge on")
    if run is not None and (tta != "none" or not _is_own_data(run, dataset)):
        run = None  # what is judged otherwise must not touch the run's own judgements
    precision = str(settings.runtime.precision) if settings else "fp32"
    summary = None
    with run.lock() if run else nullcontext():  # what it keeps is read, changed and written
        judged = evaluate_model(
            trained, dataset, parts[split], split, run=run, precision=precision, tta=tta
        )
        if run is not None and settings is not None:
            summary = _complete(run, settings, trained, judged, dataset, parts)
    if json:
        print_json(judged)
    else:
        first = [summary_table(summary)] if summary else []
        print_tables([*first, *metrics_tables(judged)])
    if min_accuracy is not None and judged["accuracy"] < min_accuracy:
        raise QualityGateError(
            f"accuracy {judged['accuracy']:.4f} is below --min-accuracy {min_accuracy:g}"
        )


def _complete(
    run: RunFolder,
    settings: Settings,
    trained: TrainedModel,
    judged: dict[str, Any],
    dataset: Dataset,
    parts: dict[str, Split],
) -> dict[str, Any]:
    """Bring metrics, model card and report of a run up to date, and return its summary."""
    from fashioncnn.files import write_atomic, write_json
    from fashioncnn.reporting.report import write_run_report
    from fashioncnn.runs import read_json
    from fashioncnn.training.model_card import model_card

    metrics = read_json(run.metrics, "validation", "test", "summary")
    if metrics[judged["split"]] != judged:
        metrics[judged["split"]] = judged
        write_json(run.metrics, metrics)
        split_metrics = {name: metrics[name] for name in ("validation", "test")}
        taught_by = run.read_environment().get("taught_by")
        card = model_card(trained, settings, dataset.hashes, split_metrics, taught_by=taught_by)
        write_atomic(run.model / "README.md", card.encode())
        write_run_report(run, parts)
    summary: dict[str, Any] = metrics["summary"]
    return summary


def _run_of(model: Path) -> RunFolder | None:
    """Return the finished run that `model` names or lies in; None for a model by itself."""
    from fashioncnn.runs import RunFolder

    if not model.exists():  # a name of a model that comes with the package
        return None
    for path in (model, model.resolve().parent):
        run = RunFolder(path)
        if (
            run.finished
            and run.config.exists()
            and (path == model or (run.model.exists() and run.model.samefile(model)))
        ):
            return run
    return None


def _source_of(trained: TrainedModel, settings: Settings | None) -> str | None:
    """Return where the model's own kind of data is, None for the cache or a download."""
    from fashioncnn.config import source_from_environment
    from fashioncnn.data.dataset import FASHION_MNIST, SKETCHES

    if settings is not None:
        return settings.data.source
    if trained.dataset == SKETCHES:
        return SKETCHES
    source = source_from_environment()
    if source is None and trained.dataset != FASHION_MNIST:
        raise UsageError(f"the model learnt from '{trained.dataset}'; name its folder with --data")
    return source


def _is_own_data(run: RunFolder, dataset: Dataset) -> bool:
    from fashioncnn.runs import read_json

    return bool(read_json(run.environment, "data")["data"]["sha256"] == dataset.hashes)
