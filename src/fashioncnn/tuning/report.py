"""The report of a search, from its study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna

from fashioncnn.reading import TOML_BYTES, read_text
from fashioncnn.reporting.search import SearchReport, write_search_report
from fashioncnn.reporting.trials import Dimension, Finalist
from fashioncnn.tuning.config import SearchConfig
from fashioncnn.tuning.folder import SearchFolder
from fashioncnn.tuning.ranges import Range
from fashioncnn.tuning.sampling import STARTUP_TRIALS
from fashioncnn.tuning.space import Space, short_names
from fashioncnn.tuning.trials import parameter_importances, read_trials


def make_dimensions(space: Space) -> list[Dimension]:
    """Return the searched settings as tables and figures need them."""
    names = short_names(space)
    return [
        Dimension(key, names[key], parameter.low, parameter.high, parameter.log)
        if isinstance(parameter, Range)
        else Dimension(key, names[key], 0, len(parameter.choices) - 1, choices=parameter.choices)
        for key, parameter in space.items()
    ]


def make_report(
    folder: SearchFolder,
    config: SearchConfig,
    study: optuna.Study,
    finalists: Sequence[Finalist] = (),
) -> SearchReport:
    """Return the report of a study with at least one complete trial."""
    return SearchReport(
        recipe=config.recipe.recipe,
        dataset=config.data["name"],
        method=_describe_method(config),
        epochs=int(config.settings.training.epochs),
        trials=read_trials(study, config),
        dimensions=make_dimensions(config.space),
        importances=parameter_importances(study),
        best_recipe=read_text(folder.best_recipe, TOML_BYTES),
        finalists=finalists,
    )


def write_report(
    folder: SearchFolder,
    config: SearchConfig,
    study: optuna.Study,
    finalists: Sequence[Finalist] = (),
) -> Path:
    """Write the report into the folder of the search; return the path of the page."""
    return write_search_report(make_report(folder, config, study, finalists), folder.path)


def _describe_method(config: SearchConfig) -> str:
    random_first = f"TPE after {STARTUP_TRIALS} random trials"
    method = {"random": "random search", "tpe": random_first}[config.sampler]
    pruning = {"none": "no pruning", "hyperband": "Hyperband", "median": "median pruning"}
    return f"{method}, seed {config.seed}, {pruning[config.pruner]}"
