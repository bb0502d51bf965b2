"""``fashioncnn tune``."""

from __future__ import annotations

import contextlib
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.errors import FashionCNNError, RunError, UsageError

if TYPE_CHECKING:
    import optuna

    from fashioncnn.settings import Settings
    from fashioncnn.tuning.space import Space
    from fashioncnn.tuning.study import Search, SearchFolder, Trial

DEFAULT_TRIALS = 50
"""Where neither trials nor a time are given."""
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}
SHOWN = 5
"""Best trials on stdout."""


def tune(
    recipe: str = "baseline",
    /,
    *,
    trials: int | None = None,
    timeout: str | None = None,
    jobs: int = 1,
    epochs: int | None = None,
    space: str | None = None,
    sampler: Literal["tpe", "random"] = "tpe",
    seed: int = 0,
    data: str | None = None,
    device: str | None = None,
    out: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    offline: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Search the hyper-parameters.

    Parameters
    ----------
    recipe
        Name of a recipe (baseline, honest, fast93, accurate …) or a .toml file.
    trials
        How many are to end, those of earlier calls included. Default: 50, without --timeout.
    timeout
        Stop after this time, as in 90s, 30m, 8h; trials not done are run by the next call.
    jobs
        Trials at once, a process each; they share the cores.
    epochs
        Of each trial, and of the recipe that comes out. Default: the recipe's.
    space
        What is searched: a name, as regularisation, or a .toml file. Default: what suits the
        recipe's network and optimiser.
    sampler
        How values are drawn.
    seed
        Decides what is drawn; the seed of the trainings is the recipe's.
    data
        Folder of IDX files, folder of class folders, or 'sketches'. Default: FASHIONCNN_DATA,
        the cache, a download.
    device
        auto, cpu, cuda, cuda:1, mps.
    out
        Folder of the search; it goes on where it holds one. Default: runs/tune-RECIPE.
    set_
        A setting of all trials, as in --set training.batch_size=128; it is not searched.
    offline
        Never download.
    json
        Print what came out as one JSON document.
    """
    from fashioncnn.config import assignment_keys, resolve
    from fashioncnn.runtime import require_tune_extra

    _refuse_less_than_one(trials=trials, jobs=jobs)
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed}: should be from 0 to 4294967295")
    seconds = math.inf if timeout is None else parse_time(timeout)
    require_tune_extra()
    flags = {"data": data, "epochs": epochs, "device": device}
    settings = resolve(recipe, flags=flags, assignments=set_)
    varied, name = _space(space, settings, assignment_keys(set_ or []))
    wanted = DEFAULT_TRIALS if trials is None and timeout is None else trials
    folder = out or Path("runs") / f"tune-{settings.recipe}"
    search = _plan(settings, varied, name, sampler, seed, jobs, offline)
    _search(search, folder, jobs, wanted or math.inf, seconds, json)


def parse_time(text: str) -> float:
    """Return the seconds that ``90``, ``90s``, ``30m`` or ``1.5h`` stand for.

    Raises:
        UsageError: it is no time, or none at all.
    """
    match = re.fullmatch(r"(\d+\.?\d*)([smh]?)", text.strip())
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not seconds > 0:
        raise UsageError(f"--timeout {text}: should be a time, as in 90s, 30m or 8h")
    return seconds


def _refuse_less_than_one(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"--{name} {count}: should be 1 or more")


def _space(wished: str | None, settings: Settings, given: set[str]) -> tuple[Space, str]:
    """Return the space without what was given by hand, and its name."""
    from fashioncnn.tuning.space import check_space, default_space, read_space

    name = wished or default_space(settings)
    whole = read_space(name)
    space = {key: parameter for key, parameter in whole.items() if key not in given}
    fixed = [key for key in whole if key in given]
    if not space:
        raise UsageError(f"--set {fixed[0]}: nothing is left to search of {name}")
    if fixed:
        note(f"not searched, for --set gives it: {', '.join(fixed)}")
    check_space(space, settings, name)
    return space, name


def _plan(
    settings: Settings,
    space: Space,
    space_name: str,
    sampler: Literal["tpe", "random"],
    seed: int,
    jobs: int,
    offline: bool,
) -> Search:
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.runtime import resolve_device
    from fashioncnn.tuning.plan import plan_search

    resolve_device(settings.runtime.device)  # before a download, not after it
    dataset = load_for(settings.data.source, settings.data.image_size, offline=offline)
    return plan_search(
        settings, space, space_name, dataset, sampler=sampler, seed=seed, jobs=jobs
    )  # fmt: skip


def _search(
    search: Search, path: Path, jobs: int, wanted: float, seconds: float, json: bool
) -> None:
    from fashioncnn.cli.progress import stopping
    from fashioncnn.cli.search_progress import make_search_observer
    from fashioncnn.cli.signals import StopSignals
    from fashioncnn.tuning.report import scales_of
    from fashioncnn.tuning.search import run_search
    from fashioncnn.tuning.study import SearchFolder
    from fashioncnn.tuning.workers import Pool

    folder, data = SearchFolder(path), search.settings.data
    folder.claim()
    stop = StopSignals("go on with the same command", "what was done is kept")
    pool = Pool(str(data.source), data.image_size, search.data["sha256"])
    with folder.lock():
        folder.bind(search)
        study = _open(folder, search, wanted)
        _tell_what_begins(search, folder, jobs, wanted)
        observer = make_search_observer(scales_of(search.space))
        with (
            _reported(search, folder, study),
            contextlib.closing(pool) as workers,
            stop,
            stopping(observer),
        ):
            done = run_search(
                search,
                folder,
                study,
                workers,
                jobs=jobs,
                trials=wanted,
                seconds=seconds,
                observer=observer,
                stop=stop.reason,
            )
        _conclude(search, folder, study, done, json)


@contextlib.contextmanager
def _reported(search: Search, folder: SearchFolder, study: optuna.Study) -> Iterator[None]:
    """Bring report and recipe up to date also where the search is stopped or fails."""
    from fashioncnn.tuning.report import write_report
    from fashioncnn.tuning.study import best_of, trials_of

    try:
        yield
    except FashionCNNError:
        trials = trials_of(study, search)
        if best_of(trials) is not None:
            folder.write_best(search, trials)
            note(f"report so far: {write_report(folder, search, study)}")
        raise


def _open(folder: SearchFolder, search: Search, wanted: float) -> optuna.Study:
    """Return the folder's study, and say what was found amiss in it."""
    from fashioncnn.tuning.study import ended, mend_journal, open_study, recover, trials_of

    cut = mend_journal(folder.journal)
    if cut:
        note(
            f"{folder.journal}: cut short by a crash; its last {cut} bytes, no whole line, left out"
        )
    study = open_study(folder, search)
    lost = recover(study, search)
    before = sum(ended(trial) for trial in trials_of(study, search))
    if before or lost:
        again = f"; running when it was killed, and run again: {lost}" if lost else ""
        note(f"{folder.path}: goes on after {before} trials{again}")
    if before >= wanted:
        note(f"all {before} trials have ended; go further with --trials {2 * before}")
    return study


def _tell_what_begins(search: Search, folder: SearchFolder, jobs: int, wanted: float) -> None:
    settings = search.settings
    count = "until the time is up" if wanted == math.inf else f"{wanted:.0f} trials"
    note(
        f"{search.recipe.recipe} on {search.data['name']}: {count}, {len(search.space)} settings, "
        f"epochs {settings.training.epochs}, {search.sampler}, {jobs} at once, "
        f"{settings.runtime.device}, threads {settings.runtime.threads} → {folder.path}"
    )
    if search.recipe.distillation.ensemble_size or search.recipe.distillation.teachers:
        note(f"no trial is taught; {folder.best} will have the recipe's teachers")


def _conclude(
    search: Search, folder: SearchFolder, study: optuna.Study, trials: list[Trial], json: bool
) -> None:
    from fashioncnn.config import source_from_environment
    from fashioncnn.reporting.search import best_columns, importances_table
    from fashioncnn.tuning.report import report_of, write_report
    from fashioncnn.tuning.study import best_of

    if best_of(trials) is None:
        raise RunError(f"{folder.path}: {_why_none(trials)}")
    folder.write_best(search, trials)
    page = write_report(folder, search, study)
    report = report_of(folder, search, study)
    if json:
        print_json(_document(search, folder, page, report))
        return
    best = best_columns(trials, report.scales, SHOWN)
    importances = [importances_table(report.importances, report.scales)]
    print_tables([best, *importances * bool(report.importances)])
    note(f"report: {page}")
    source = search.recipe.data.source
    data = [] if source == source_from_environment() else ["--data", str(source)]
    command = shlex.join(["fashioncnn", "train", str(folder.best), *data])
    note(f"the best as a recipe: {command}")


def _why_none(trials: list[Trial]) -> str:
    failed = [t for t in trials if t["state"] == "failed"]
    if failed:
        return f"no trial was completed, {len(failed)} failed; the last: {failed[-1]['reason']}"
    return "no trial was completed in this time; call again to go on, or with a longer --timeout"


def _document(search: Search, folder: SearchFolder, page: Path, report: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "search": str(folder.path),
        "recipe": search.recipe.recipe,
        "dataset": search.data["name"],
        "sampler": search.sampler,
        "seed": search.seed,
        "epochs": report.epochs,
        "best": report.best,
        "best_recipe": str(folder.best),
        "report": str(page),
        "importances": report.importances,
        "trials": report.trials,
    }
