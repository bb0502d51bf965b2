"""What commands print about a group of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fashioncnn.cli.console import print_json, print_text
from fashioncnn.groups import GroupFolder
from fashioncnn.reporting.mistakes import evaluated_split
from fashioncnn.reporting.seeds import format_means, summarize_runs
from fashioncnn.reporting.tables import percent
from fashioncnn.settings import SCHEMA

Metrics = dict[str, Any]


def result_line(seed: int, metrics: Metrics, path: Path) -> str:
    """Return the main metrics of a run in one line.

    Args:
        seed: of the run.
        metrics: by split, as in metrics.json.
        path: of the run.
    """
    split = evaluated_split(metrics)
    if split is None:
        return f"seed {seed}: train loss {metrics['summary']['final_train_loss']:.4f} → {path}"
    accuracy, loss = metrics[split]["accuracy"], metrics[split]["loss"]
    return f"seed {seed}: {split} accuracy {percent(accuracy)}, loss {loss:.4f} → {path}"


def print_group(group: GroupFolder, metrics: Sequence[Metrics], json: bool) -> None:
    """Print the means over the runs, or one JSON document with them and the metrics of each run.

    Args:
        group: the runs.
        metrics: of each run, by split.
        json: print the document.
    """
    seeds, summary = group.seeds(), summarize_runs(metrics)
    if not json:
        print_text(format_means(summary, len(seeds)))
        return
    runs = [
        {"run": str(group.run(seed).path), "seed": seed, **of_run}
        for seed, of_run in zip(seeds, metrics, strict=True)
    ]
    head = {"schema": SCHEMA, "group": str(group.path), "seeds": list(seeds)}
    print_json({**head, "mean": summary, "runs": runs})
