"""The result of ``fashioncnn tune``: tables or a JSON document."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.config import source_from_environment
from fashioncnn.reporting.search import SearchReport
from fashioncnn.reporting.search_tables import best_trials_table
from fashioncnn.settings import SCHEMA
from fashioncnn.tuning.config import SearchConfig
from fashioncnn.tuning.folder import SearchFolder

BEST_SHOWN = 5
"""Trials in the table on stdout."""


def print_result(
    config: SearchConfig, folder: SearchFolder, page: Path, report: SearchReport, *, json: bool
) -> None:
    """Print the result of a search.

    Args:
        config: of the search.
        folder: of the search.
        page: path of the report.
        report: its content.
        json: print a JSON document instead of tables.
    """
    if json:
        print_json(_document(config, folder, page, report))
        return
    print_tables(
        [best_trials_table(report.trials, report.dimensions, BEST_SHOWN), *report.tables[1:]]
    )
    note(f"report: {page}")
    source = config.recipe.data.source
    data = [] if source == source_from_environment() else ["--data", str(source)]
    command = shlex.join(["fashioncnn", "train", str(folder.best_recipe), *data])
    note(f"train the best recipe: {command}")


def _document(
    config: SearchConfig, folder: SearchFolder, page: Path, report: SearchReport
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "search": str(folder.path),
        "recipe": config.recipe.recipe,
        "dataset": config.data["name"],
        "sampler": config.sampler,
        "pruner": config.pruner,
        "seed": config.seed,
        "epochs": report.epochs,
        "best": report.best.to_dict(),
        "best_recipe": str(folder.best_recipe),
        "report": str(page),
        "finalists": [finalist.to_dict() for finalist in report.finalists],
        "importances": report.importances,
        "trials": [trial.to_dict() for trial in report.trials],
    }
