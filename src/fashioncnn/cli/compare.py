"""``fashioncnn compare``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note, print_json, print_tables, print_text
from fashioncnn.errors import DataError, UsageError

if TYPE_CHECKING:
    from fashioncnn.evaluation.metrics import Labels, Logits
    from fashioncnn.runs import RunFolder

SEED_ALONE: dict[str, Any] = {
    "training": {"seed"},
    "runtime": True,
    "data": {"source"},
    "description": True,
}
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
        The part to compare on; auto is validation where all held out the same images, else test.
    json
        Print the comparison as one JSON document.
    """
    from fashioncnn.runtime import require_train_extra

    require_train_extra()
    from fashioncnn.evaluation.comparison import Group, compare_groups
    from fashioncnn.reporting.comparison import comparison_tables, verdict

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
    images = {run.path: _predictions(run, chosen) for run in together}
    labels = _same_images(images, chosen)
    names = _same_classes(together, images)
    told = (a.name, b.name) if a.name != b.name else (str(a), str(b))
    groups = [
        Group(name, [images[run.path][0] for run in side])
        for name, side in zip(told, runs, strict=True)
    ]
    compared: dict[str, Any] = {
        "split": chosen,
        **compare_groups(groups[0], groups[1], labels, names),
    }
    compared["verdict"] = verdict(compared)
    if json:
        print_json(compared)
        return
    print_tables(comparison_tables(compared))
    print_text(compared["verdict"])


def _runs_of(path: Path) -> list[RunFolder]:
    """Return the finished run at `path`, or those that lie in it."""
    from fashioncnn.runs import RunFolder, open_run

    if not path.is_dir() or (path / "config.toml").exists():
        run = open_run(path)
        if not run.finished:
            command = shlex.join(["fashioncnn", "train", "--resume", str(path)])
            raise UsageError(f"{path}: not finished; go on with {command}")
        return [run]
    found = [RunFolder(p) for p in sorted(path.iterdir()) if (p / "config.toml").exists()]
    finished = [run for run in found if run.finished]
    for run in found:
        if not run.finished:
            note(f"{run.path}: not finished, and left out")
    if not finished:
        raise UsageError(f"{path}: neither a run nor a folder of finished runs")
    _refuse_equal_seeds(finished)
    _note_other_differences(finished)
    return finished


def _note_other_differences(runs: list[RunFolder]) -> None:
    settings = [run.settings().model_dump(exclude=SEED_ALONE) for run in runs]
    for run, values in zip(runs[1:], settings[1:], strict=True):
        differing = sorted(key for key in values if values[key] != settings[0][key])
        if differing:
            what = ", ".join(differing)
            note(f"{run.path}: differs from {runs[0].path} in more than its seed: {what}")


def _refuse_equal_seeds(runs: list[RunFolder]) -> None:
    seeds: dict[int, Path] = {}
    for run in runs:
        other = seeds.setdefault(run.settings().training.seed, run.path)
        if other is not run.path:
            raise UsageError(
                f"{other} and {run.path}: have the same seed, so are not two of a group"
            )


def _count(runs: list[RunFolder]) -> str:
    return "one run" if len(runs) == 1 else f"{len(runs)} runs"


def _common_split(runs: list[RunFolder]) -> str:
    """Return validation where every run was judged on the same images of it, else test."""
    from fashioncnn.evaluation.predictions import load_predictions

    identities = [load_predictions(run.predictions)[1] for run in runs]
    held_out = {identity.get("validation_sha256") for identity in identities}
    return "validation" if len(held_out) == 1 and None not in held_out else "test"


def _predictions(run: RunFolder, split: str) -> tuple[Logits, Labels, dict[str, str]]:
    from fashioncnn.evaluation.predictions import load_predictions

    predictions, identity = load_predictions(run.predictions)
    if split not in predictions or not {"model_sha256", f"{split}_sha256"} <= identity.keys():
        option = [] if split == "test" else ["--split", split]
        command = shlex.join(["fashioncnn", "evaluate", str(run.path), *option])
        raise UsageError(f"{run.path}: no predictions of the {split} part; run {command}")
    return *predictions[split], identity


def _same_images(images: dict[Path, tuple[Logits, Labels, dict[str, str]]], split: str) -> Labels:
    """Return the labels of all, which have to be of the same images and of different networks."""
    (first, (_, labels, identity)), *others = images.items()
    seen = {identity["model_sha256"]: first}
    for path, (_, other_labels, other) in others:
        same = other[f"{split}_sha256"] == identity[f"{split}_sha256"]
        if not same or len(other_labels) != len(labels):
            raise DataError(
                f"{first} and {path}: judged on different images, or other sizes of them, in the "
                f"{split} part, so not comparable on it"
            )
        twin = seen.setdefault(other["model_sha256"], path)
        if twin is not path:
            raise UsageError(f"{twin} and {path}: hold the very same network")
    return labels


def _same_classes(
    runs: list[RunFolder], images: dict[Path, tuple[Logits, Labels, dict[str, str]]]
) -> tuple[str, ...]:
    """Return the names of the classes, which have to be the same for all."""
    from fashioncnn.models.trained_model import read_class_names

    first = read_class_names(runs[0].path)
    for run in runs:
        names = read_class_names(run.path)
        if names != first or len(names) != images[run.path][0].shape[1]:
            raise DataError(f"{runs[0].path} and {run.path}: know different classes")
    return first
