"""Results of runs as records: one row of a CSV file per run, or per group of seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from fashioncnn.reporting.run_report import RunReport
from fashioncnn.reporting.seeds import METRICS, SeedGroup, group_by_seed, group_labels

Record = dict[str, Any]
"""Values by the name of the column; all records of a table have the same columns."""


def group_records(reports: Sequence[RunReport]) -> list[Record]:
    """Return one record per group of evaluated runs that differ only in their seed.

    Columns: ``settings`` (recipe, and what differs among the groups), ``recipe``,
    ``training_data``, ``dataset`` and ``split`` of the evaluation, ``n`` seeds, ``seeds``, then for
    each of accuracy, loss, ece and macro_f1 its ``_mean``, ``_sd`` (sample standard deviation),
    ``_ci95_low`` and ``_ci95_high`` (interval of the mean), and ``runs``. Lists are separated by
    spaces and semicolons; spread and interval of a single run are empty.
    """
    groups = group_by_seed(reports)
    return [
        _group_record(group, label)
        for group, label in zip(groups, group_labels(groups), strict=True)
    ]


def run_records(reports: Sequence[RunReport]) -> list[Record]:
    """Return one record per evaluated run.

    Columns: ``run``, ``recipe``, ``seed``, ``training_data``, ``dataset`` and ``split`` of the
    evaluation, ``images`` of it, ``accuracy``, ``accuracy_ci95_low`` and ``accuracy_ci95_high``
    (Wilson's interval, over images), ``loss``, ``ece``, ``macro_f1``, ``epochs``, ``seconds`` of
    training, and ``parameters``.
    """
    return [
        _run_record(report, report.evaluation)
        for report in reports
        if report.evaluation is not None
    ]


def to_csv(records: Sequence[Record]) -> str:
    """Return records, at least one, as CSV with a header."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def _group_record(group: SeedGroup, label: str) -> Record:
    first = group.runs[0]
    evaluation = first.evaluation or {}
    record: Record = {
        "settings": label,
        "recipe": first.settings.recipe,
        "training_data": first.dataset,
        "dataset": evaluation["dataset"],
        "split": evaluation["split"],
        "n": len(group.runs),
        "seeds": " ".join(str(run.settings.training.seed) for run in group.runs),
    }
    for metric in METRICS:
        value = group.mean_and_std(metric)
        low, high = value.ci95 or (None, None)
        record |= {
            f"{metric}_mean": value.mean,
            f"{metric}_sd": value.std,
            f"{metric}_ci95_low": low,
            f"{metric}_ci95_high": high,
        }
    return {**record, "runs": "; ".join(run.name for run in group.runs)}


def _run_record(report: RunReport, evaluation: dict[str, Any]) -> Record:
    low, high = evaluation["accuracy_ci95"]
    summary = report.metrics["summary"]
    return {
        "run": report.name,
        "recipe": report.settings.recipe,
        "seed": report.settings.training.seed,
        "training_data": report.dataset,
        "dataset": evaluation["dataset"],
        "split": evaluation["split"],
        "images": evaluation["n"],
        "accuracy": evaluation["accuracy"],
        "accuracy_ci95_low": low,
        "accuracy_ci95_high": high,
        "loss": evaluation["loss"],
        "ece": evaluation["ece"],
        "macro_f1": evaluation["macro_f1"],
        "epochs": summary["epochs"],
        "seconds": summary["seconds"],
        "parameters": evaluation["parameters"],
    }
