"""``fashioncnn evaluate`` of a group of runs."""

from __future__ import annotations

from pathlib import Path

from fashioncnn.cli.console import note, print_text
from fashioncnn.cli.evaluate import TTA, Loading, Metrics, evaluate_one
from fashioncnn.cli.group_output import print_group, result_line
from fashioncnn.cli.report import finished_runs, write_group_report
from fashioncnn.groups import GroupFolder
from fashioncnn.reporting.seeds import summarize_runs


def evaluate_group(path: Path, split: str, tta: TTA, load: Loading, json: bool) -> float:
    """Evaluate every run of a group, print their metrics, and return the mean accuracy.

    Args:
        path: of the group.
        split: see `evaluate`.
        tta: see `evaluate`.
        load: see `evaluate`.
        json: print one JSON document instead of lines.

    Raises:
        UsageError: a run is not finished.
    """
    group, metrics = GroupFolder(path), []
    runs = finished_runs(path)
    before = [run.read_metrics() for run in runs]
    if any(of_run[split] is None for of_run in before):
        group.report.unlink(missing_ok=True)  # so that it is written even after an interruption
    for seed, run in zip(group.seeds(), runs, strict=True):
        evaluation, _ = evaluate_one(run.path, split, tta, load)
        by_split: Metrics = {"validation": None, "test": None, split: evaluation}
        metrics.append(by_split)
        if not json:
            print_text(result_line(seed, by_split, run.path))
    is_new = [run.read_metrics() for run in runs] != before  # they store those of their own data
    if is_new or not group.report.exists():
        note(f"report: {write_group_report(group)}")
    print_group(group, metrics, json)
    mean: float = summarize_runs(metrics)[split]["accuracy"]["mean"]
    return mean
