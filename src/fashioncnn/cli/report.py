"""``fashioncnn report``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note
from fashioncnn.cli.file_errors import writing
from fashioncnn.errors import FashionCNNError, UsageError

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Split
    from fashioncnn.groups import GroupFolder
    from fashioncnn.reporting.run_report import RunReport
    from fashioncnn.runs import RunFolder

Format = Literal["html", "md", "csv", "latex"]
SUFFIXES = {"md": ".md", "csv": ".csv", "latex": ".tex"}


def report(
    *runs: Path,
    data: str | None = None,
    format_: Annotated[Format, Parameter(name="--format")] = "html",
    rows: Literal["groups", "runs"] | None = None,
    out: Annotated[Path | None, Parameter(name="--out")] = None,
) -> None:
    """Write report.html and report.md, or print tables.

    Parameters
    ----------
    runs
        Finished run folders, or groups of them (train --seeds); several are shown side by side.
    data
        Dataset with the images that the runs were evaluated on, to show mistakes. Default: the
        data that each run was trained on.
    format_
        html writes report.html and report.md; md, csv and latex print tables.
    rows
        Rows of csv and latex: groups of runs that differ only in their seed, with mean and standard
        deviation, or single runs. Default: groups.
    out
        Output folder of html. Default: the run or group; for several, their common parent folder.
        File of md, csv and latex. Default: standard output.
    """
    from fashioncnn.environment import require_modules

    if not runs:
        raise UsageError("report: no run folder given; name at least one, as in runs/train-1")
    if rows is not None and format_ not in ("csv", "latex"):
        raise UsageError(f"--rows {rows}: has an effect on --format csv and latex only; remove it")
    if data is not None and format_ != "html":
        raise UsageError(f"--data {data}: has an effect on --format html only; remove it")
    named = _expand(runs)
    require_modules("report")
    if format_ != "html":
        _print_or_write(_read(named, data), format_, rows or "groups", out)
        return
    print(_write_page(runs, named, data, out))  # noqa: T201


def _expand(paths: tuple[Path, ...]) -> dict[str, RunFolder]:
    """Return the runs at the paths, and those of groups, by a name for each.

    Raises:
        UsageError: there is no run, the same one is given twice, or a group is not finished.
    """
    from fashioncnn.groups import is_group
    from fashioncnn.runs import open_run

    # `open_run` rejects a link to itself, which has no target and no name.
    found = {path: finished_runs(path) if is_group(path) else [open_run(path)] for path in paths}
    named: dict[str, RunFolder] = {}
    for (path, runs), name in zip(found.items(), _names(tuple(found)), strict=True):
        prefix = "" if len(found) == 1 else f"{name}/"
        is_single = not is_group(path)
        named |= {name if is_single else f"{prefix}{run.path.name}": run for run in runs}
    is_repeated = len(found) < len(paths)
    if is_repeated or len({run.path.resolve() for run in named.values()}) < len(named):
        raise UsageError("report: the same run is given twice; name each run once")
    return named


def finished_runs(path: Path) -> list[RunFolder]:
    """Return the runs of a group; raise `UsageError` if one is not finished."""
    from fashioncnn.groups import GroupFolder

    found = GroupFolder(path).runs
    unfinished = [run.path.name for run in found if not run.trained]
    if unfinished:
        command = shlex.join(["fashioncnn", "train", "--resume", str(path)])
        raise UsageError(f"{path}: {', '.join(unfinished)} not finished; resume with: {command}")
    return found


def _read(
    named: dict[str, RunFolder], data: str | None, *, images: bool = False
) -> list[RunReport]:
    """Return the reports of the runs; with `images`, they show mistakes."""
    from fashioncnn.reporting.run_report import read_run

    return [
        read_run(run, load_splits(run, data) if images else {}, name) for name, run in named.items()
    ]


def _write_page(
    paths: tuple[Path, ...], named: dict[str, RunFolder], data: str | None, out: Path | None
) -> Path:
    """Write report.html and report.md, and return the path of the former."""
    from fashioncnn.groups import GroupFolder, is_group
    from fashioncnn.reporting.report import write_comparison, write_run_report

    if len(paths) == 1 and out is None and not is_group(paths[0]):
        (run,) = named.values()
        with run.lock():
            return write_run_report(run, load_splits(run, data))
    if len(paths) == 1 and out is None:
        return write_group_report(GroupFolder(paths[0]), data)
    reports = _read(named, data, images=True)
    folder = out or _common_folder(paths)
    with writing("--out", folder):
        return write_comparison(reports, folder)


def write_group_report(group: GroupFolder, data: str | None = None) -> Path:
    """Write the report of a finished group into its folder, and return the path of the page."""
    from fashioncnn.reporting.report import write_comparison

    reports = _read({run.path.name: run for run in group.runs}, data, images=True)
    with group.lock():
        return write_comparison(reports, group.path)


def _print_or_write(
    reports: list[RunReport], format_: Format, rows: Literal["groups", "runs"], out: Path | None
) -> None:
    """Print the tables of runs, or write them to a file."""
    from fashioncnn.cli.predict_output import open_output
    from fashioncnn.reporting.records import group_records, run_records, to_csv
    from fashioncnn.reporting.report import to_markdown
    from fashioncnn.reporting.seeds import group_table
    from fashioncnn.reporting.side_by_side import runs_table

    if format_ == "md":
        text = to_markdown(reports)
    else:
        evaluated = _evaluated(reports)
        if format_ == "csv":
            text = to_csv((run_records if rows == "runs" else group_records)(evaluated))
        else:
            text = (runs_table if rows == "runs" else group_table)(evaluated).to_latex()
    if out is not None and out.is_dir():
        out = out / f"report{SUFFIXES[format_]}"
    with open_output(out) as output:
        output.write(text)


def _evaluated(reports: list[RunReport]) -> list[RunReport]:
    """Return the runs that were evaluated, and report the others."""
    evaluated = [report for report in reports if report.evaluation is not None]
    for report in reports:
        if report.evaluation is None:
            note(f"{report.name}: skipped, it was not evaluated on any split")
    if not evaluated:
        raise UsageError("report: no run was evaluated; run fashioncnn evaluate RUN for each")
    return evaluated


def load_splits(run: RunFolder, data: str | None = None) -> dict[str, Split]:
    """Return the images that the run was evaluated on, or nothing and print a note."""
    from fashioncnn.data.load import load_dataset
    from fashioncnn.data.options import ignore, load_arguments
    from fashioncnn.evaluation.predictions import load_predictions
    from fashioncnn.inference.evaluate import evaluation_splits
    from fashioncnn.reporting.mistakes import evaluated_split, has_evaluated_images

    settings = run.settings()
    source = data or settings.data.source
    try:
        dataset = load_dataset(
            source,
            offline=True,
            notify=ignore,
            **load_arguments(settings.data),
        )
    except FashionCNNError as error:
        note(f"{run.path}: the report shows no mistakes, their images are not available ({error})")
        return {}
    splits = evaluation_splits(dataset, settings)
    if run.trained:
        metrics = run.read_metrics()
        command = shlex.join(["fashioncnn", "evaluate", str(run.path)])
        if not evaluated_split(metrics):
            note(
                f"{run.path}: the report shows no mistakes, no split was evaluated; evaluate one "
                f"with: {command}"
            )
        elif not load_predictions(run.predictions)[0]:
            note(
                f"{run.predictions}: missing or damaged, so that the report shows no mistakes; "
                f"write it again with: {command}"
            )
        elif not has_evaluated_images(run, metrics, splits):
            note(
                f"{run.path}: the report shows no mistakes, the run was evaluated on other images "
                f"than those of {dataset.source}"
            )
    return splits


def _names(paths: tuple[Path, ...]) -> list[str]:
    """Return the names of the folders, or the paths if two folders have the same name."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _common_folder(paths: tuple[Path, ...]) -> Path:
    folders = {path.resolve().parent for path in paths}
    if len(folders) > 1:
        raise UsageError("report: the runs are in different folders; name an output folder: --out")
    folder, here = folders.pop(), Path.cwd()
    is_below = folder.is_relative_to(here) and not any(path.is_absolute() for path in paths)
    return folder.relative_to(here) if is_below else folder
