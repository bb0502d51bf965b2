"""``fashioncnn train --seeds``: a group of runs that differ only in their seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashioncnn.cli.console import note, print_json, print_text
from fashioncnn.cli.networks import check_resumed
from fashioncnn.cli.resume import is_done, prepare_here, write_missing_report
from fashioncnn.cli.setting_flags import override_settings
from fashioncnn.cli.train_run import suggest_resuming, train_and_report
from fashioncnn.errors import UsageError
from fashioncnn.groups import GroupFolder, is_group, new_group, with_seed
from fashioncnn.inference.evaluate import evaluation_splits
from fashioncnn.reporting.mistakes import evaluated_split
from fashioncnn.reporting.report import write_comparison
from fashioncnn.reporting.run_report import read_run
from fashioncnn.reporting.seeds import format_means, summarize_runs
from fashioncnn.reporting.tables import percent
from fashioncnn.runs import RunFolder
from fashioncnn.settings import SCHEMA
from fashioncnn.training.resume import changed_settings
from fashioncnn.training.run import write_start

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset
    from fashioncnn.models.custom import CustomNetwork
    from fashioncnn.models.trained_model import TrainedModel
    from fashioncnn.settings import Settings

Metrics = dict[str, Any]


def train_group(
    seeds: Sequence[int],
    settings: Settings,
    dataset: Dataset,
    initial: TrainedModel | None,
    out: Path | None,
    json: bool,
    custom: CustomNetwork | None = None,
) -> None:
    """Train one run per seed; a group that `out` contains is continued.

    Args:
        seeds: distinct.
        settings: of all runs, resolved, with any seed.
        dataset: to train on.
        initial: a model whose weights to start from, or None.
        out: folder of the group; None is the next free ``runs/train-N``.
        json: print one JSON document instead of lines.
        custom: the network given with ``--network``.

    Raises:
        UsageError: `out` contains something else, or a group of other runs.
        InterruptedRun, TerminatedRun, WriteError: see `train_run.train_run`.
    """
    if out is not None and is_group(out):
        group = GroupFolder(out)
        _require_same(group, seeds, settings, initial)
        with group.lock():
            _train_runs(group, {}, dataset, json, custom)
        return

    def write(run: RunFolder, of_seed: Settings) -> None:
        write_start(run, of_seed, dataset, initial, custom)

    with new_group(out, seeds, settings, write) as group:
        _train_runs(group, {}, dataset, json, custom)


def resume_group(
    path: Path,
    flags: Mapping[str, Any],
    *,
    offline: bool,
    json: bool,
    custom: CustomNetwork | None = None,
) -> None:
    """Train the runs of a group that are not finished.

    Args:
        path: of the group.
        flags: values of flags for settings, not yet validated.
        offline: do not download data.
        json: print one JSON document instead of lines.
        custom: the network given with ``--network``.
    """
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.devices import configure_process

    group = GroupFolder(path)
    settings = override_settings(group.runs[0].settings(), flags)
    check_resumed(path, settings.model, custom)
    configure_process(settings.runtime.threads)
    dataset = load_for(settings.data.source, settings.data.image_size, offline=offline)
    with group.lock():
        _train_runs(group, flags, dataset, json, custom)


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
    json: bool,
    custom: CustomNetwork | None,
) -> None:
    """Train what is not trained yet, print a line per run, and write the report of the group."""
    seeds, metrics, is_new = group.seeds(), [], False
    for number, seed in enumerate(seeds, 1):
        run, name = group.run(seed), f"seed {seed} ({number} of {len(seeds)})"
        trained = _train_one(run, flags, dataset, group, name, custom)
        is_new = is_new or trained
        metrics.append(run.read_metrics())
        if not json:
            print_text(_result_line(seed, metrics[-1], run.path))
    summary = summarize_runs(metrics)
    if is_new or not group.report.exists():
        _write_report(group, dataset)
    else:
        note(f"{group.path}: already finished; nothing to do")
    if json:
        runs = [
            {"run": str(group.run(seed).path), "seed": seed, **of_seed}
            for seed, of_seed in zip(seeds, metrics, strict=True)
        ]
        head = {"schema": SCHEMA, "group": str(group.path), "seeds": list(seeds)}
        print_json({**head, "mean": summary, "runs": runs})
        return
    print_text(format_means(summary, len(seeds)))
    note(f"report: {group.report}")
    _note_evaluation(group, metrics, has_test=dataset.test is not None)


def _train_one(
    run: RunFolder,
    flags: Mapping[str, Any],
    dataset: Dataset,
    group: GroupFolder,
    name: str,
    custom: CustomNetwork | None,
) -> bool:
    """Train a run of the group to its end; return False if it was finished."""
    before = run.settings()
    settings = override_settings(before, flags)
    if is_done(run, before, settings):
        if run.finished:
            return False
        write_missing_report(run)
        return True
    run.require_resumable()
    group.report.unlink(missing_ok=True)  # it shows what is now trained further
    settings = prepare_here(run, settings, dataset, custom)
    with run.lock():
        train_and_report(run, settings, dataset, custom=custom, resumable=group.path, name=name)
    return True


def _write_report(group: GroupFolder, dataset: Dataset) -> None:
    reports = [
        read_run(run, evaluation_splits(dataset, run.settings()), run.path.name)
        for run in group.runs
    ]
    with suggest_resuming(group.path):
        write_comparison(reports, group.path)


def _result_line(seed: int, metrics: Metrics, path: Path) -> str:
    split = evaluated_split(metrics)
    if split is None:
        return f"seed {seed}: train loss {metrics['summary']['final_train_loss']:.4f} → {path}"
    accuracy, loss = metrics[split]["accuracy"], metrics[split]["loss"]
    return f"seed {seed}: {split} accuracy {percent(accuracy)}, loss {loss:.4f} → {path}"


def _note_evaluation(group: GroupFolder, metrics: Sequence[Metrics], *, has_test: bool) -> None:
    if has_test and any(of_run["test"] is None for of_run in metrics):
        note(
            "the test split was not evaluated; for the final results: fashioncnn evaluate RUN for "
            f"each run in {group.path}, then fashioncnn report {group.path}"
        )
