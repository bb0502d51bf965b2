"""Comparison of trained runs by their stored predictions."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fashioncnn.artifacts.model_folder import read_class_names
from fashioncnn.errors import DataError, UsageError
from fashioncnn.evaluation.comparison import Group, compare_groups
from fashioncnn.evaluation.metrics import Labels, Logits
from fashioncnn.evaluation.predictions import load_predictions
from fashioncnn.reporting.comparison import verdict
from fashioncnn.reporting.seeds import configuration_of, differing_keys
from fashioncnn.runs import RunFolder, open_run

StoredPredictions = tuple[Logits, Labels, dict[str, str]]
"""(n, classes) float32 logits, (n,) uint8 labels, and hashes of model and images."""
Notify = Callable[[str], None]


def compare_runs(a: Path, b: Path, split: str, notify: Notify) -> dict[str, Any]:
    """Return the comparison of B with A as JSON types, with its verdict in words.

    Args:
        a: a trained run, or a folder of trained runs that differ only in their seed.
        b: the same; a run if `a` is a run, a folder if `a` is a folder.
        split: ``validation``, ``test``, or ``auto``: validation if all runs hold out the same
            images, else test.
        notify: called with a message about each run that is skipped, or differs in more.

    Raises:
        UsageError: a path is no run, or the two cannot be compared.
        DataError: the runs were evaluated on different images, or have other classes.
    """
    groups = _find_runs(a, notify), _find_runs(b, notify)
    _check_sizes((a, b), groups)
    runs = [*groups[0], *groups[1]]
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise UsageError(f"{a} and {b}: a run cannot be compared with itself; name two runs")
    chosen = _common_split(runs) if split == "auto" else split
    predictions = {run.path: _read_predictions(run, chosen) for run in runs}
    labels = _check_same_images(predictions, chosen)
    class_names = _check_same_classes(runs, predictions)
    group_a, group_b = (
        Group(
            name,
            [predictions[run.path][0] for run in group],
            [run.settings().training.seed for run in group],
            [predictions[run.path][1] for run in group],
        )
        for name, group in zip(_names(a, b), groups, strict=True)
    )
    comparison: dict[str, Any] = {
        "split": chosen,
        **compare_groups(group_a, group_b, labels, class_names),
    }
    comparison["verdict"] = verdict(comparison)
    return comparison


def _find_runs(path: Path, notify: Notify) -> list[RunFolder]:
    """Return the trained run at `path`, or the trained runs in that folder."""
    if not path.is_dir() or (path / "config.toml").exists():
        run = open_run(path)
        if not run.trained:
            command = shlex.join(["fashioncnn", "train", "--resume", str(path)])
            raise UsageError(f"{path}: not finished; resume it with: {command}")
        run.require_intact()
        return [run]
    found = [RunFolder(p) for p in sorted(path.iterdir()) if (p / "config.toml").exists()]
    found.sort(key=lambda run: (len(run.path.name), run.path.name))  # seed-2 before seed-10
    trained = [run for run in found if run.trained]
    for run in found:
        if not run.trained:
            notify(f"{run.path}: skipped, not finished")
    if not trained:
        raise UsageError(f"{path}: neither a run nor a folder of finished runs")
    for run in trained:
        run.require_intact()
    _check_distinct_seeds(trained)
    _note_other_differences(trained, notify)
    return trained


def _check_sizes(paths: tuple[Path, Path], groups: tuple[list[RunFolder], list[RunFolder]]) -> None:
    counts = ["one run" if len(group) == 1 else f"{len(group)} runs" for group in groups]
    if (counts[0] == "one run") != (counts[1] == "one run"):
        raise UsageError(
            f"{paths[0]} is {counts[0]} and {paths[1]} is {counts[1]}: compare one run with one "
            "run, or several seeds with several seeds"
        )


def _check_distinct_seeds(runs: list[RunFolder]) -> None:
    seeds: dict[int, Path] = {}
    for run in runs:
        other = seeds.setdefault(run.settings().training.seed, run.path)
        if other is not run.path:
            raise UsageError(
                f"{other} and {run.path}: have the same seed; the runs of a folder must differ in "
                "their seed"
            )


def _note_other_differences(runs: list[RunFolder], notify: Notify) -> None:
    """Call `notify` for each run that differs from the first one in more than its seed."""
    first, *others = [configuration_of(run.settings()) for run in runs]
    for run, configuration in zip(runs[1:], others, strict=True):
        keys = ", ".join(differing_keys([first, configuration]))
        if keys:
            notify(f"{run.path}: differs from {runs[0].path} in more than its seed: {keys}")


def _common_split(runs: list[RunFolder]) -> str:
    """Return validation if all runs were evaluated on the same validation images, else test."""
    identities = [load_predictions(run.predictions)[1] for run in runs]
    held_out = {identity.get("validation_sha256") for identity in identities}
    return "validation" if len(held_out) == 1 and None not in held_out else "test"


def _names(a: Path, b: Path) -> tuple[str, str]:
    """Return the names of the folders, or the paths if both have the same name."""
    names = a.resolve().name, b.resolve().name
    return names if names[0] != names[1] else (str(a), str(b))


def _read_predictions(run: RunFolder, split: str) -> StoredPredictions:
    predictions, identity = load_predictions(run.predictions)
    if split not in predictions or not {"model_sha256", f"{split}_sha256"} <= identity.keys():
        option = [] if split == "test" else ["--split", split]
        command = shlex.join(["fashioncnn", "evaluate", str(run.path), *option])
        raise UsageError(f"{run.path}: no stored predictions of the {split} split; run: {command}")
    return predictions[split].logits, predictions[split].labels, identity


def _check_same_images(predictions: dict[Path, StoredPredictions], split: str) -> Labels:
    """Return the labels of the first run; all runs must have been evaluated on the same images.

    Raises:
        DataError: two runs were evaluated on different images.
        UsageError: two runs have the same model.
    """
    (first, (_, labels, identity)), *others = predictions.items()
    models = {identity["model_sha256"]: first}
    for path, (_, other_labels, other) in others:
        same_images = other[f"{split}_sha256"] == identity[f"{split}_sha256"]
        if not same_images or len(other_labels) != len(labels):
            raise DataError(
                f"{first} and {path}: cannot be compared on the {split} split, they were evaluated "
                "on different images or image sizes"
            )
        same_model = models.setdefault(other["model_sha256"], path)
        if same_model is not path:
            raise UsageError(f"{same_model} and {path}: have the same model; compare two models")
    return labels


def _check_same_classes(
    runs: list[RunFolder], predictions: dict[Path, StoredPredictions]
) -> tuple[str, ...]:
    """Return the class names, which must be the same for all runs."""
    first = read_class_names(runs[0].path)
    for run in runs:
        names = read_class_names(run.path)
        if names != first or len(names) != predictions[run.path][0].shape[1]:
            raise DataError(f"{runs[0].path} and {run.path}: have different classes")
    return first
