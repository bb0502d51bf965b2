"""Running a search for ``fashioncnn tune``: recovery, signals, report and output."""

from __future__ import annotations

import contextlib
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna

from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.cli.signals import StopSignals
from fashioncnn.cli.tune_progress import make_search_callback
from fashioncnn.config import source_from_environment
from fashioncnn.data.options import load_arguments
from fashioncnn.errors import FashionCNNError, RunError
from fashioncnn.reporting.search import SearchReport
from fashioncnn.reporting.search_tables import best_trials_table
from fashioncnn.reporting.trials import Trial, best_trial
from fashioncnn.settings import SCHEMA
from fashioncnn.tuning.config import SearchConfig
from fashioncnn.tuning.folder import SearchFolder
from fashioncnn.tuning.journal import repair_journal
from fashioncnn.tuning.pool import WorkerPool
from fashioncnn.tuning.report import make_dimensions, make_report, write_report
from fashioncnn.tuning.search import run_search
from fashioncnn.tuning.study import open_study, requeue_running_trials
from fashioncnn.tuning.trials import read_trials

BEST_SHOWN = 5
"""Trials in the table on stdout."""


def run_search_in_folder(
    config: SearchConfig, path: Path, *, jobs: int, target: float, seconds: float, json: bool
) -> None:
    """Start or resume a search, write its report and print the result.

    Args:
        config: configuration of the search.
        path: its folder.
        jobs: trials to train at a time.
        target: number of finished trials, including those of earlier calls.
        seconds: time limit.
        json: print a JSON document instead of tables.

    Raises:
        UsageError: the folder contains something else.
        RunError: the folder is locked or damaged, or no trial is complete.
        InterruptedRun: on SIGINT; finished trials are kept.
        TerminatedRun: on SIGTERM; finished trials are kept.
    """
    folder, data = SearchFolder(path), config.settings.data
    folder.create()
    signals = StopSignals("run the same command to resume", "finished trials are kept")
    with folder.lock():
        folder.store_config(config)
        study = _open_study(folder, config, target)
        _note_start(config, folder, jobs, target)
        callback = make_search_callback(make_dimensions(config.space))
        loading = load_arguments(config.recipe.data)
        image_size = loading.pop("image_size")
        pool = WorkerPool(str(data.source), image_size, config.data["sha256"], loading)
        with (
            _report_on_error(config, folder, study),
            contextlib.closing(pool) as workers,
            signals,
            contextlib.closing(callback),
        ):
            trials = run_search(
                config,
                folder,
                study,
                workers,
                jobs=jobs,
                trials=target,
                seconds=seconds,
                callback=callback,
                stop=signals.reason,
            )
        _finish(config, folder, study, trials, json)


def _open_study(folder: SearchFolder, config: SearchConfig, target: float) -> optuna.Study:
    """Return the study of a folder, after recovery from a crash."""
    removed = repair_journal(folder.journal)
    if removed:
        note(f"{folder.journal}: removed an incomplete end of {removed} bytes, left by a crash")
    study = open_study(folder, config)
    interrupted = requeue_running_trials(study, config)
    finished = sum(trial.is_finished for trial in read_trials(study, config))
    if finished or interrupted:
        suffix = f", interrupted and queued again: {interrupted}" if interrupted else ""
        note(f"{folder.path}: resumed; trials finished: {finished}{suffix}")
    if finished >= target:
        note(f"{finished} trials are finished; extend the search with --trials {2 * finished}")
    return study


def _note_start(config: SearchConfig, folder: SearchFolder, jobs: int, target: float) -> None:
    settings, distillation = config.settings, config.recipe.distillation
    limit = "no limit" if math.isinf(target) else f"{target:.0f}"
    note(
        f"{config.recipe.recipe} on {config.data['name']}: trials {limit}, "
        f"settings {len(config.space)}, epochs {settings.training.epochs}, "
        f"sampler {config.sampler}, jobs {jobs}, device {settings.runtime.device}, "
        f"threads {settings.runtime.threads} → {folder.path}"
    )
    if not distillation.is_off:
        note(f"trials train without teachers; {folder.best_recipe} will have those of the recipe")


@contextlib.contextmanager
def _report_on_error(
    config: SearchConfig, folder: SearchFolder, study: optuna.Study
) -> Iterator[None]:
    """Write the best recipe and the report also if the search is interrupted or fails."""
    try:
        yield
    except FashionCNNError:
        trials = read_trials(study, config)
        if best_trial(trials) is not None:
            folder.write_best_recipe(config, trials)
            note(f"report so far: {write_report(folder, config, study)}")
        raise


def _finish(
    config: SearchConfig,
    folder: SearchFolder,
    study: optuna.Study,
    trials: list[Trial],
    json: bool,
) -> None:
    """Write the best recipe and the report, and print the result."""
    if best_trial(trials) is None:
        raise RunError(f"{folder.path}: {_no_result_message(trials)}")
    folder.write_best_recipe(config, trials)
    page = write_report(folder, config, study)
    report = make_report(folder, config, study)
    if json:
        print_json(_document(config, folder, page, report))
    else:
        _print_result(config, folder, page, report)


def _print_result(
    config: SearchConfig, folder: SearchFolder, page: Path, report: SearchReport
) -> None:
    print_tables(
        [best_trials_table(report.trials, report.dimensions, BEST_SHOWN), *report.tables[1:]]
    )
    note(f"report: {page}")
    source = config.recipe.data.source
    data = [] if source == source_from_environment() else ["--data", str(source)]
    command = shlex.join(["fashioncnn", "train", str(folder.best_recipe), *data])
    note(f"train the best recipe: {command}")


def _no_result_message(trials: list[Trial]) -> str:
    failed = [trial for trial in trials if trial.state == "failed"]
    if failed:
        return f"no trial is complete, {len(failed)} failed; the last one: {failed[-1].reason}"
    return "no trial is complete; run the same command to resume, or with a longer --timeout"


def _document(
    config: SearchConfig, folder: SearchFolder, page: Path, report: SearchReport
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "search": str(folder.path),
        "recipe": config.recipe.recipe,
        "dataset": config.data["name"],
        "sampler": config.sampler,
        "seed": config.seed,
        "epochs": report.epochs,
        "best": report.best.to_dict(),
        "best_recipe": str(folder.best_recipe),
        "report": str(page),
        "importances": report.importances,
        "trials": [trial.to_dict() for trial in report.trials],
    }
