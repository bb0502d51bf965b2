"""``fashioncnn report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fashioncnn.cli.console import note
from fashioncnn.cli.file_errors import writing
from fashioncnn.errors import FashionCNNError, UsageError

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Split
    from fashioncnn.runs import RunFolder


def report(
    *runs: Path,
    data: str | None = None,
    out: Annotated[Path | None, Parameter(name="--out")] = None,
) -> None:
    """Write report.html and report.md.

    Parameters
    ----------
    runs
        Finished run folders; several are shown side by side.
    data
        Dataset with the images that the runs were evaluated on, to show mistakes. Default: the
        data that each run was trained on.
    out
        Output folder. Default: the run folder; for several runs, their common parent folder.
    """
    if not runs:
        raise UsageError("report: no run folder given; name at least one, as in runs/train-1")
    from fashioncnn.environment import require_modules
    from fashioncnn.runs import open_run

    folders = [open_run(path) for path in runs]  # rejects a link to itself, which has no target
    if len({path.resolve() for path in runs}) < len(runs):
        raise UsageError("report: the same run is given twice; name each run once")
    require_modules("report")
    from fashioncnn.reporting.report import write_comparison, write_run_report
    from fashioncnn.reporting.run_report import read_run

    if len(folders) == 1 and out is None:
        with folders[0].lock():
            page = write_run_report(folders[0], load_splits(folders[0], data))
    else:
        folder = out or _common_folder(runs)
        reports = [
            read_run(run, load_splits(run, data), name)
            for run, name in zip(folders, _names(runs), strict=True)
        ]
        with writing("--out", folder):
            page = write_comparison(reports, folder)
    print(page)  # noqa: T201


def load_splits(run: RunFolder, data: str | None = None) -> dict[str, Split]:
    """Return the images that the run was evaluated on, or nothing and print a note."""
    from fashioncnn.data.load import load_dataset
    from fashioncnn.data.options import ignore, load_arguments
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
        if evaluated_split(metrics) and not has_evaluated_images(run, metrics, splits):
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
