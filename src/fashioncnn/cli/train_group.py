"""``fashioncnn train --seeds``: a group of runs that differ only in their seed."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashioncnn.cli.console import note, print_text
from fashioncnn.cli.group_output import print_group, result_line
from fashioncnn.cli.networks import check_resumed
from fashioncnn.cli.resume import is_done, prepare_here, write_missing_report
from fashioncnn.cli.setting_flags import override_settings
from fashioncnn.cli.train_run import suggest_resuming, tracked_name, train_and_report
from fashioncnn.errors import UsageError
from fashioncnn.groups import GroupFolder, is_group, new_group, with_seed
from fashioncnn.inference.evaluate import evaluation_splits
from fashioncnn.reporting.report import write_comparison
from fashioncnn.reporting.run_report import read_run
from fashioncnn.runs import RunFolder
from fashioncnn.training.resume import changed_settings
from fashioncnn.training.run import write_start

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset
    from fashioncnn.models.custom import CustomNetwork
    from fashioncnn.models.trained_model import TrainedModel
    from fashioncnn.settings import Settings
    from fashioncnn.tracking.options import TrackerOption

Metrics = dict[str, Any]


def train_group(
    seeds: Sequence[int],
    settings: Settings,
    dataset: Dataset,
    initial: TrainedModel | None,
    custom: CustomNetwork | None,
    out: Path | None,
    json: bool,
    trackers: Sequence[TrackerOption] = (),
    *,
    precision_selected: bool = False,
) -> None:
    """Train one run per seed; a group that `out` contains is continued.

    Args:
        seeds: distinct.
        settings: of all runs, resolved, with any seed.
        dataset: to train on.
        initial: a model whose weights to start from, or None.
        custom: the network given with ``--network``.
        out: folder of the group; None is the next free ``runs/train-N``.
        json: print one JSON document instead of lines.
        trackers: where to track each run.
        precision_selected: whether the precision was requested as ``auto``; a group keeps the one
            that was selected when it was started.

    Raises:
        UsageError: `out` contains something else, or a group of other runs.
        InterruptedRun, TerminatedRun, WriteError: see `train_run.train_run`.
    """
    if out is not None and is_group(out):
        group = GroupFolder(out)
        if precision_selected:
            recorded = group.runs[0].settings().runtime.precision
            settings = override_settings(settings, {"precision": recorded})
        _require_same(group, seeds, settings, initial)
        with group.lock():
            _train_runs(group, {}, dataset, custom, json, trackers)
        return

    def write(run: RunFolder, of_seed: Settings) -> None:
        write_start(run, of_seed, dataset, initial, custom)

    with new_group(out, seeds, settings, write) as group:
        _train_runs(group, {}, dataset, custom, json, trackers)


def resume_group(
    path: Path,
    flags: Mapping[str, Any],
    custom: CustomNetwork | None,
    *,
    offline: bool,
    json: bool,
    trackers: Sequence[TrackerOption] = (),
) -> None:
    """Train the runs of a group that are not finished.

    Args:
        path: of the group.
        flags: values of flags for settings, not yet validated.
        custom: the network given with ``--network``.
        offline: do not download data.
        json: print one JSON document instead of lines.
        trackers: where to track each run.
    """
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.data.options import load_arguments
    from fashioncnn.devices import configure_process

    group = GroupFolder(path)
    settings = override_settings(group.runs[0].settings(), flags)
    check_resumed(path, settings.model, custom)
    configure_process(settings.runtime.threads)
    dataset = load_for(settings.data.source, offline=offline, **load_arguments(settings.data))
    with group.lock():
        _train_runs(group, flags, dataset, custom, json, trackers)


def _require_same(
    group: GroupFolder, seeds: Sequence[int], settings: Settings, initial: TrainedModel | None
) -> None:
    """Reject to continue a group of other seeds, settings or initial weights."""
    stored = group.seeds()
    changes = []
    if set(stored) != set(seeds):
        changes.append(f"its seeds are {', '.join(map(str, stored))}")
    for run in group.runs[:1]:
        now = with_seed(settings, stored[0])
        changes += changed_settings(run.settings(), now)
        sha256 = None if initial is None else initial.sha256
        if run.read_environment().get("initialized_from") != sha256:
            changes.append("it started from other weights")
    if changes:
        raise UsageError(
            f"--out {group.path}: contains another group ({'; '.join(changes)}); repeat its "
            "options, or name a new folder"
        )


def _train_runs(
    group: GroupFolder,
    flags: Mapping[str, Any],
    dataset: Dataset,
    custom: CustomNetwork | None,
    json: bool,
    trackers: Sequence[TrackerOption],
) -> None:
    """Train what is not trained yet, print a line per run, and write the report of the group."""
    seeds, metrics, is_new = group.seeds(), [], False
    for number, seed in enumerate(seeds, 1):
        run, name = group.run(seed), f"seed {seed} ({number} of {len(seeds)})"
        trained = _train_one(run, flags, dataset, custom, group, name, trackers)
        is_new = is_new or trained
        metrics.append(run.read_metrics())
        if not json:
            print_text(result_line(seed, metrics[-1], run.path))
    if is_new or not group.report.exists():
        _write_report(group, dataset)
    else:
        note(f"{group.path}: already finished; nothing to do")
    print_group(group, metrics, json)
    note(f"report: {group.report}")
    _note_evaluation(group, metrics, has_test=dataset.test is not None)


def _train_one(
    run: RunFolder,
    flags: Mapping[str, Any],
    dataset: Dataset,
    custom: CustomNetwork | None,
    group: GroupFolder,
    name: str,
    trackers: Sequence[TrackerOption],
) -> bool:
    """Train a run of the group to its end; return False if it was finished."""
    before = run.settings()
    settings = override_settings(before, flags)
    if is_done(run, before, settings):
        if run.finished:
            return False
        write_missing_report(run, trackers, tracked_name(run, group.path))
        return True
    run.require_resumable()
    group.report.unlink(missing_ok=True)  # it shows what is now trained further
    settings = prepare_here(run, settings, dataset, custom)
    with run.lock():
        train_and_report(
            run, settings, dataset, custom, resumable=group.path, name=name, trackers=trackers
        )
    return True


def _write_report(group: GroupFolder, dataset: Dataset) -> None:
    reports = [
        read_run(run, evaluation_splits(dataset, run.settings()), run.path.name)
        for run in group.runs
    ]
    with suggest_resuming(group.path):
        write_comparison(reports, group.path)


def _note_evaluation(group: GroupFolder, metrics: Sequence[Metrics], *, has_test: bool) -> None:
    if has_test and any(of_run["test"] is None for of_run in metrics):
        note(
            "the test split was not evaluated; for the final results: "
            + shlex.join(["fashioncnn", "evaluate", str(group.path)])
        )
