"""``fashioncnn evaluate``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.errors import DataError, QualityGateError, UsageError


def evaluate(
    model: Path,
    /,
    *,
    data: str | None = None,
    split: Literal["test", "validation"] = "test",
    device: str = "auto",
    min_accuracy: float | None = None,
    offline: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Judge a run or model on one part of the data.

    Parameters
    ----------
    model
        A run folder or a model folder.
    data
        As for train. Default: the data that the run learnt from.
    split
        The part to judge on; validation is the part that the run held out.
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
    from fashioncnn.runtime import require_train_extra, resolve_device

    require_train_extra()
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.evaluation.evaluate import evaluate_model, splits_of
    from fashioncnn.models.store import load_model
    from fashioncnn.reporting.report import write_run_report
    from fashioncnn.reporting.tables import judgement_tables, summary_table
    from fashioncnn.runs import RunFolder, read_json, write_json

    trained = load_model(model, resolve_device(device))
    run = RunFolder(model) if (model / "config.toml").exists() else None
    settings = run.settings() if run else None
    source = (
        data or (settings.data.source if settings else None) or os.environ.get("FASHIONCNN_DATA")
    )
    dataset = load_for(source, trained.preprocessing.image_size, offline=offline)
    if dataset.name != trained.dataset:
        note(f"the model learnt from {trained.dataset} and is judged on {dataset.name}")
    parts = splits_of(dataset, settings)
    if split not in parts:
        raise DataError(f"{model}: has no {split} part to judge on")
    own_data = run is not None and dataset.name == trained.dataset
    judged = evaluate_model(trained, dataset, parts[split], split, run=run if own_data else None)
    summary = None
    if run is not None and run.finished and own_data:
        metrics = read_json(run.metrics)
        summary = metrics["summary"]
        if metrics[split] != judged:
            write_json(run.metrics, {**metrics, split: judged})
            write_run_report(run, parts)
    if json:
        print_json(judged)
    else:
        first = [summary_table(summary)] if summary else []
        print_tables([*first, *judgement_tables(judged)])
    if min_accuracy is not None and judged["accuracy"] < min_accuracy:
        raise QualityGateError(
            f"accuracy {judged['accuracy']:.4f} is below --min-accuracy {min_accuracy:g}"
        )
