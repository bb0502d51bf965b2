"""A search as its report shows it."""

from __future__ import annotations

from pathlib import Path

import optuna

from fashioncnn.reporting.search import SearchReport, write_search_report
from fashioncnn.reporting.search_figures import Scale
from fashioncnn.tuning.space import Range, Space, short_names
from fashioncnn.tuning.study import STARTUP_TRIALS, Search, SearchFolder, importances, trials_of


def scales_of(space: Space) -> list[Scale]:
    """Return the axes of a space."""
    names = short_names(space)
    return [
        Scale(key, names[key], p.low, p.high, p.log)
        if isinstance(p, Range)
        else Scale(key, names[key], 0, len(p.choices) - 1, choices=p.choices)
        for key, p in space.items()
    ]


def report_of(folder: SearchFolder, search: Search, study: optuna.Study) -> SearchReport:
    """Return what the page shows of a search with at least one complete trial."""
    return SearchReport(
        recipe=search.recipe.recipe,
        dataset=search.data["name"],
        method=_method(search),
        epochs=search.settings.training.epochs,
        trials=trials_of(study, search),
        scales=scales_of(search.space),
        importances=importances(study),
        best_recipe=folder.best.read_text("utf-8"),
    )


def write_report(folder: SearchFolder, search: Search, study: optuna.Study) -> Path:
    """Write the report into the search's own folder, and return the path of the page."""
    return write_search_report(report_of(folder, search, study), folder.path)


def _method(search: Search) -> str:
    by = {"random": "random search", "tpe": f"TPE after {STARTUP_TRIALS} random trials"}
    return f"{by[search.sampler]}, seed {search.seed}, median pruning"
