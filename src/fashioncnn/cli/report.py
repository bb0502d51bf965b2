"""``fashioncnn report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fashioncnn.cli.console import note
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
        Where the images of the mistakes are. Default: the data that each run learnt from.
    out
        Folder to write to. Default: the run folder; for several, the folder they lie in.
    """
    if not runs:
        raise UsageError("report: name at least one run folder, as in runs/train-1")
    if len({path.resolve() for path in runs}) < len(runs):
        raise UsageError("report: a run is named twice")
    from fashioncnn.runs import open_run
    from fashioncnn.runtime import require_train_extra

    require_train_extra()
    from fashioncnn.reporting.report import read_run, write_comparison, write_run_report

    folders = [open_run(path) for path in runs]
    if len(folders) == 1 and out is None:
        page = write_run_report(folders[0], _parts(folders[0], data))
    else:
        folder = out or _common_folder(runs)
        reports = [
            read_run(run, _parts(run, data), name)
            for run, name in zip(folders, _names(runs), strict=True)
        ]
        page = write_comparison(reports, folder)
    print(page)  # noqa: T201


def _parts(run: RunFolder, data: str | None) -> dict[str, Split]:
    """Return the run's images; none, with a note, where they are not to be had."""
    from fashioncnn.data.load import load_dataset
    from fashioncnn.evaluation.evaluate import evaluation_splits

    settings = run.settings()
    source = data or settings.data.source
    try:
        dataset = load_dataset(source, image_size=settings.data.image_size, offline=True)
    except FashionCNNError as error:
        note(f"{run.path}: mistakes are shown without images ({error})")
        return {}
    return evaluation_splits(dataset, settings)


def _names(paths: tuple[Path, ...]) -> list[str]:
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _common_folder(paths: tuple[Path, ...]) -> Path:
    folders = {path.resolve().parent for path in paths}
    if len(folders) > 1:
        raise UsageError("report: the runs lie in several folders; say where to write with --out")
    return folders.pop()
