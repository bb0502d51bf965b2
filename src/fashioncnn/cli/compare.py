"""``fashioncnn compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.errors import DataError, UsageError

if TYPE_CHECKING:
    from fashioncnn.evaluation.comparison import Group
    from fashioncnn.evaluation.metrics import Labels
    from fashioncnn.runs import RunFolder

SEED_ALONE: dict[str, Any] = {"training": {"seed"}, "runtime": True, "data": {"source"}}
"""What runs of a group may differ in."""


def compare(
    a: Path,
    b: Path,
    /,
    *,
    split: Literal["auto", "validation", "test"] = "auto",
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Is B better than A?

    Parameters
    ----------
    a
        A finished run, or a folder of finished runs that differ in their seeds.
    b
        Likewise; a run where A is one, a folder where A is one.
    split
        The part to compare on; auto is validation where every run has it, else test.
    json
        Print the comparison as one JSON document.
    """
    from fashioncnn.runtime import require_train_extra

    require_train_extra()
    from fashioncnn.evaluation.comparison import compare_groups
    from fashioncnn.reporting.comparison import comparison_tables, verdict
    from fashioncnn.runs import read_json

    runs = _runs_of(a), _runs_of(b)
    if (len(runs[0]) == 1) != (len(runs[1]) == 1):
        raise UsageError(
            f"{a} is {_count(runs[0])} and {b} is {_count(runs[1])}: compare one run with one, or "
            "several seeds of each"
        )
    together = [*runs[0], *runs[1]]
    if len({run.path.resolve() for run in together}) < len(together):
        raise UsageError(f"{a} and {b}: a run is compared with itself")
    chosen = _common_split(together) if split == "auto" else split
    pictures = {run.path: _predictions(run, chosen) for run in together}
    labels = _same_pictures(pictures, chosen)
    groups = [_group(path, side, pictures) for path, side in zip((a, b), runs, strict=True)]
    judged = read_json(runs[0][0].metrics, chosen)[chosen] or {"per_class": []}
    names = [c["name"] for c in judged["per_class"]]
    compared: dict[str, Any] = {
        "split": chosen,
        **compare_groups(groups[0], groups[1], labels, names),
    }
    compared["verdict"] = verdict(compared)
    if json:
        print_json(compared)
        return
    print_tables(comparison_tables(compared))
    print(compared["verdict"])  # noqa: T201


def _runs_of(path: Path) -> list[RunFolder]:
    """Return the finished run at `path`, or those that lie in it."""
    from fashioncnn.runs import RunFolder, open_run

    if not path.is_dir() or (path / "config.toml").exists():
        run = open_run(path)
        if not run.finished:
            raise UsageError(f"{path}: not finished; go on with --resume {path}")
        return [run]
    found = [RunFolder(p) for p in sorted(path.iterdir()) if (p / "config.toml").exists()]
    finished = [run for run in found if run.finished]
    for run in found:
        if not run.finished:
            note(f"{run.path}: not finished, and left out")
    if not finished:
        raise UsageError(f"{path}: neither a run nor a folder of finished runs")
    _note_other_differences(finished)
    return finished


def _note_other_differences(runs: list[RunFolder]) -> None:
    settings = [run.settings().model_dump(exclude=SEED_ALONE) for run in runs]
    for run, values in zip(runs[1:], settings[1:], strict=True):
        differing = sorted(key for key in values if values[key] != settings[0][key])
        if differing:
            what = ", ".join(differing)
            note(f"{run.path}: differs from {runs[0].path} in more than its seed: {what}")


def _count(runs: list[RunFolder]) -> str:
    return "one run" if len(runs) == 1 else f"{len(runs)} runs"


def _common_split(runs: list[RunFolder]) -> str:
    from fashioncnn.runs import read_json

    metrics = [read_json(run.metrics, "validation", "test") for run in runs]
    for split in ("validation", "test"):
        if all(m[split] for m in metrics):
            return split
    missing = next(r for r, m in zip(runs, metrics, strict=True) if not m["test"])
    raise UsageError(
        f"{missing.path}: not judged on the part that the others were; run "
        f"fashioncnn evaluate {missing.path}"
    )


def _predictions(run: RunFolder, split: str) -> tuple[Any, Any, dict[str, str]]:
    from fashioncnn.evaluation.predictions import load_predictions

    predictions, identity = load_predictions(run.predictions)
    if split not in predictions:
        option = "" if split == "test" else f" --split {split}"
        raise UsageError(
            f"{run.path}: no predictions of the {split} part; run "
            f"fashioncnn evaluate {run.path}{option}"
        )
    return *predictions[split], identity


def _same_pictures(pictures: dict[Path, tuple[Any, Any, dict[str, str]]], split: str) -> Labels:
    """Return the labels of all, which have to be of the same pictures and of different networks."""
    (first, (_, labels, identity)), *others = pictures.items()
    seen = {identity["model_sha256"]: first}
    for path, (_, _, other) in others:
        if other[f"{split}_sha256"] != identity[f"{split}_sha256"]:
            raise DataError(f"{first} and {path}: judged on different pictures, so not comparable")
        twin = seen.setdefault(other["model_sha256"], path)
        if twin is not path:
            raise UsageError(f"{twin} and {path}: hold the very same network")
    result: Labels = labels
    return result


def _group(
    path: Path, runs: list[RunFolder], pictures: dict[Path, tuple[Any, Any, dict[str, str]]]
) -> Group:
    from fashioncnn.evaluation.comparison import Group

    return Group(path.name or str(path), [pictures[run.path][0] for run in runs])
