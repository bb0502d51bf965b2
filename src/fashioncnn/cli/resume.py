"""``fashioncnn train --resume``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashioncnn.cli.console import note, plural, print_json
from fashioncnn.cli.networks import check_resumed, import_given
from fashioncnn.cli.ranks import Plan, describe, place, require_no_group
from fashioncnn.cli.resumed_trackers import resumed_trackers
from fashioncnn.cli.setting_flags import override_settings
from fashioncnn.config import override
from fashioncnn.errors import UsageError
from fashioncnn.training.ranks import ALONE

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset
    from fashioncnn.models.custom import CustomNetwork
    from fashioncnn.runs import RunFolder
    from fashioncnn.settings import Settings
    from fashioncnn.tracking.options import TrackerOption
    from fashioncnn.training.ranks import Ranks

RESUMABLE_FLAGS = ("--epochs", "--data", "--device", "--kernels", "--threads")
"""Flags that can be given with ``--resume``."""


def resume_run(
    path: Path,
    flags: Mapping[str, Any],
    given: Sequence[str],
    network: str | None,
    offline: bool,
    json: bool,
    ranks: Ranks,
    trackers: Sequence[TrackerOption] = (),
) -> None:
    """Train an interrupted run to its end, or a finished run for more epochs.

    Args:
        path: of the run or group.
        flags: values of flags for settings, not yet validated.
        given: all that was given beside ``--resume`` and ``--network``, as it is typed.
        network: the code of a custom network, which is not imported because a run names it.
        offline: do not download data.
        json: print the metrics as one JSON document.
        ranks: this process; of several, the first one reads the run.
        trackers: where to track.

    Raises:
        UsageError: there is no run, or it cannot be resumed with these flags.
    """
    with Plan(ranks) as plan:
        if ranks.is_first:
            _resume(path, flags, given, network, offline, json, plan, trackers)
        else:
            _help_resume(network, offline, plan)


def _help_resume(network: str | None, offline: bool, plan: Plan) -> None:
    """Train a resumed run together with the first process."""
    from fashioncnn.cli.train_run import help_train
    from fashioncnn.runs import RunFolder
    from fashioncnn.settings import Settings

    received, ranks = plan.receive(), plan.ranks
    run = RunFolder(Path(received["run"]))  # on another machine
    before = Settings.model_validate(received["settings"], strict=False)

    def prepare() -> tuple[Settings, Dataset, CustomNetwork | None]:
        custom = import_given(network)
        return *_prepare(run, before, custom, offline, ranks), custom

    settings, dataset, custom = ranks.agree(prepare, lambda p: describe(p[0], p[1]))
    help_train(run.path, settings, dataset, custom, ranks)


def _resume(
    path: Path,
    flags: Mapping[str, Any],
    given: Sequence[str],
    network: str | None,
    offline: bool,
    json: bool,
    plan: Plan,
    trackers: Sequence[TrackerOption],
) -> None:
    from fashioncnn.environment import require_modules
    from fashioncnn.groups import GroupFolder, is_group
    from fashioncnn.runs import open_run

    run = None if is_group(path) else open_run(path)
    rejected = sorted(set(given) - set(RESUMABLE_FLAGS))
    if rejected:
        raise UsageError(
            f"{', '.join(rejected)}: cannot be changed with --resume; start a new run from its "
            f"weights with --from {path}"
        )
    require_modules("train")
    custom = import_given(network)
    if run is None:
        if plan.ranks.are_several:
            require_no_group(f"--resume {path}", plan.ranks)
        from fashioncnn.cli.train_group import resume_group

        runs = GroupFolder(path).runs
        if not all(member.finished for member in runs) or "--epochs" in given:
            trackers = resumed_trackers(path, trackers, [member.path for member in runs])
        resume_group(path, flags, custom, offline=offline, json=json, trackers=trackers)
        return
    before = run.settings()
    settings = override_settings(before, flags)
    if custom is not None:
        check_resumed(path, settings.model, custom)
    if not is_done(run, before, settings):
        run.require_resumable()
        check_resumed(path, settings.model, custom)
        if plan.ranks.are_several and "--device" not in given:
            device = settings.runtime.device.partition(":")[0]  # each process has its own
            settings = override(settings, {"runtime.device": device})
        trackers = resumed_trackers(path, trackers, [run.path])
        keeps_threads = "--threads" in given
        _continue(run, settings, custom, offline, json, plan, trackers, keeps_threads=keeps_threads)
        return
    if not run.finished:
        write_missing_report(run, resumed_trackers(path, trackers, [run.path]))
    else:
        epochs = plural(settings.training.epochs, "epoch")
        reason = _early_stop_reason(run)
        how = f"stopped early: {reason}" if reason else epochs
        note(f"{run.path}: already finished ({how}); nothing to do")
    if json:
        _print_metrics(run)


def is_done(run: RunFolder, before: Settings, settings: Settings) -> bool:
    """Return whether the run needs no more training."""
    from fashioncnn.training.extension import check_extension

    epochs = settings.training.epochs
    if epochs == "auto":
        raise UsageError("--epochs auto: a run has a fixed number of epochs; give a number")
    if epochs != before.training.epochs:
        check_extension(before, epochs, run.path)
        if not (run.trained and run.is_complete() and _early_stop_reason(run)):
            return False
    if not run.trained:
        return False
    complete = run.is_complete()
    if not complete:
        note(f"{run.path}: trained, but files are missing; resuming from its last checkpoint")
    return complete


def _early_stop_reason(run: RunFolder) -> str:
    """Return why a complete run ended before its last epoch; empty if it did not."""
    return str(run.read_metrics()["summary"].get("stopped_early", ""))


def write_missing_report(
    run: RunFolder, trackers: Sequence[TrackerOption] = (), name: str | None = None
) -> None:
    """Write the report of a trained run that ended before it was written, and track its end.

    Args:
        run: trained.
        trackers: where it is tracked.
        name: under which; by default that of its folder.
    """
    from fashioncnn.cli.report import load_splits
    from fashioncnn.cli.train_run import suggest_resuming
    from fashioncnn.reporting.report import write_run_report
    from fashioncnn.tracking.track import tracking
    from fashioncnn.tracking.tracker import epoch_metrics, flat_settings

    note(f"{run.path}: trained, but its report is missing; writing it")
    settings = flat_settings(run.settings())
    name = name or run.path.resolve().name
    with (
        run.lock(),
        suggest_resuming(run.path),
        tracking(trackers, name, settings, run.path, note) as track,
    ):
        page = write_run_report(run, load_splits(run))
        track.start([epoch_metrics(record) for record in run.read_history()])
        track.finish_run(run.read_metrics(), run)
    note(f"report: {page}")


def _print_metrics(run: RunFolder) -> None:
    print_json({"run": str(run.path), **run.read_metrics()})


def _continue(
    run: RunFolder,
    settings: Settings,
    custom: CustomNetwork | None,
    offline: bool,
    json: bool,
    plan: Plan,
    trackers: Sequence[TrackerOption],
    *,
    keeps_threads: bool,
) -> None:
    from fashioncnn.cli.train_run import train_run

    ranks = plan.ranks
    before = run.read_environment().get("world_size", 1)
    if before != ranks.world_size:
        note(
            f"{run.path}: trained by {before} before, now by {plural(ranks.world_size, 'process')}"
        )
        if not keeps_threads:
            settings = override(settings, {"runtime.threads": "auto"})
    plan.send(run=str(run.path), settings=settings.model_dump(mode="json"))
    settings, dataset = ranks.agree(
        lambda: _prepare(run, settings, custom, offline, ranks), lambda p: describe(*p)
    )
    with run.lock():
        train_run(run, settings, dataset, json, custom, ranks, trackers)


def _prepare(
    run: RunFolder, settings: Settings, custom: CustomNetwork | None, offline: bool, ranks: Ranks
) -> tuple[Settings, Dataset]:
    """Return the settings for this machine, and the data."""
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.data.options import load_arguments
    from fashioncnn.devices import configure_process

    settings = place(settings, ranks)
    configure_process(settings.runtime.threads, ranks.local_world_size)
    dataset = load_for(settings.data.source, offline=offline, **load_arguments(settings.data))
    return prepare_here(run, settings, dataset, custom, ranks), dataset


def prepare_here(
    run: RunFolder,
    settings: Settings,
    dataset: Dataset,
    custom: CustomNetwork | None,
    ranks: Ranks = ALONE,
) -> Settings:
    """Return the settings of a run to be resumed on this machine, and note what differs."""
    from fashioncnn.cli.train_run import note_missing_kernels
    from fashioncnn.training.prepare import prepare_resumed

    kernels = settings.runtime.kernels
    settings = prepare_resumed(settings, dataset, custom, ranks.world_size)
    if kernels in ("native", "mixed") and settings.runtime.kernels == "torch":
        note(
            f"{run.path}: started with native kernels, which are not available here; PyTorch's "
            "round differently"
        )
        note_missing_kernels(settings)
    return settings
