"""Train in a run folder with progress, and print the result."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fashioncnn.cli.console import note, plural, print_json, print_tables
from fashioncnn.cli.progress import make_progress
from fashioncnn.cli.resumed_trackers import track_arguments
from fashioncnn.cli.runtime_notes import note_slow_runtime
from fashioncnn.cli.signals import StopSignals
from fashioncnn.data.training_data import training_data_name, training_splits
from fashioncnn.errors import RankError, TerminatedRun, WriteError
from fashioncnn.inference.evaluate import evaluation_splits
from fashioncnn.kernels import unavailable_reason
from fashioncnn.reporting.report import write_run_report
from fashioncnn.reporting.tables import metrics_tables, summary_table
from fashioncnn.tracking.track import tracking
from fashioncnn.tracking.tracker import flat_settings
from fashioncnn.training.distributed import StopTogether
from fashioncnn.training.extension import can_extend
from fashioncnn.training.ranks import ALONE
from fashioncnn.training.run import train_model

if TYPE_CHECKING:
    from pathlib import Path

    from fashioncnn.data.dataset import Dataset
    from fashioncnn.models.custom import CustomNetwork
    from fashioncnn.runs import RunFolder
    from fashioncnn.settings import Settings
    from fashioncnn.tracking.options import TrackerOption
    from fashioncnn.training.ranks import Ranks


MIN_CALIBRATION = 50
"""Images of the classes below which a note says that the calibration is not reliable."""


def train_run(
    run: RunFolder,
    settings: Settings,
    dataset: Dataset,
    json: bool,
    custom: CustomNetwork | None = None,
    ranks: Ranks = ALONE,
    trackers: Sequence[TrackerOption] = (),
) -> None:
    """Train, write the report, and print metrics.

    Args:
        run: where everything is written; locked by this process.
        settings: resolved.
        dataset: to train on.
        json: print the metrics as one JSON document instead of tables.
        custom: the network given with ``--network``.
        ranks: this process, the first of those that train; the others call `help_train`.
        trackers: where to track.

    Raises:
        RankError: another process has ended.
        InterruptedRun, TerminatedRun: on SIGINT or SIGTERM, after a checkpoint.
        WriteError: a file cannot be written; the message says how to resume.
    """
    metrics, page = train_and_report(run, settings, dataset, custom, ranks=ranks, trackers=trackers)
    if json:
        print_json({"run": str(run.path), **metrics})
        return
    evaluated = metrics["test"] or metrics["validation"]
    print_tables(
        [summary_table(metrics["summary"]), *(metrics_tables(evaluated) if evaluated else [])]
    )
    note(f"report: {page}")
    _note_evaluation(run, metrics, _options(custom), has_test=dataset.test is not None)


def train_and_report(
    run: RunFolder,
    settings: Settings,
    dataset: Dataset,
    custom: CustomNetwork | None = None,
    *,
    resumable: Path | None = None,
    name: str = "",
    ranks: Ranks = ALONE,
    trackers: Sequence[TrackerOption] = (),
) -> tuple[dict[str, Any], Path]:
    """Train and write the report; return the metrics and the path of the report.

    Args:
        run: where everything is written; locked by this process.
        settings: resolved.
        dataset: to train on.
        custom: the network given with ``--network``.
        resumable: what messages say to resume; the run by default.
        name: of the run among several, for progress.
        ranks: see `train_run`.
        trackers: where to track.

    Raises:
        RankError, InterruptedRun, TerminatedRun, WriteError: see `train_run`.
    """
    _note_start(run, settings, dataset, ranks)
    path = resumable or run.path
    hint = f"resume with: {_resume_command(path, custom, ranks, trackers)}"
    stop = StopSignals(hint)
    terminated = TerminatedRun(f"terminated, checkpoint saved; {hint}")
    with (
        suggest_resuming(path),
        _suggest_after_loss(hint),
        tracking(
            trackers, tracked_name(run, path), flat_settings(settings), run.path, note
        ) as track,
    ):
        with stop, contextlib.closing(make_progress()) as progress:
            result = train_model(
                settings,
                dataset,
                run=run,
                custom=custom,
                callbacks=[progress, track],
                stop=StopTogether(ranks, stop.reason, terminated),
                notify=note,
                name=name,
                ranks=ranks,
            )
        page = write_run_report(run, evaluation_splits(dataset, settings))
        track.finish_run(result.metrics, run)
    _note_early_stop(settings, result.metrics["summary"])
    return result.metrics, page


def help_train(
    path: Path,
    settings: Settings,
    dataset: Dataset,
    custom: CustomNetwork | None,
    ranks: Ranks,
) -> None:
    """Train together with the first process, which calls `train_run`.

    Args:
        path: of the run, on the machine of the first process.
        settings: resolved.
        dataset: to train on.
        custom: the network given with ``--network``.
        ranks: this process.

    Raises:
        RankError: another process has ended.
        ReportedError: one of the processes received SIGINT or SIGTERM.
    """
    stop = StopSignals("")
    together = StopTogether(ranks, stop.reason, TerminatedRun(""))
    hint = f"resume with: {_resume_command(path, custom, ranks)}"
    with _suggest_after_loss(hint), stop:
        train_model(settings, dataset, custom=custom, stop=together, notify=note, ranks=ranks)


def tracked_name(run: RunFolder, resumable: Path) -> str:
    """Return the name of a run in a tracker, with that of the group if it belongs to one.

    Args:
        run: to train.
        resumable: the run, or its group.
    """
    return str(run.path.resolve().relative_to(resumable.resolve().parent))


def _resume_command(
    path: Path,
    custom: CustomNetwork | None,
    ranks: Ranks,
    trackers: Sequence[TrackerOption] = (),
) -> str:
    program = "fashioncnn"
    if ranks.are_several:
        number = shlex.join(["--nproc-per-node", str(ranks.local_world_size)])
        is_one_machine = ranks.local_world_size == ranks.world_size
        program = f"torchrun {number if is_one_machine else '…'} -m fashioncnn"
    options = [*_options(custom), *track_arguments(trackers)]
    return f"{program} {shlex.join(['train', '--resume', str(path), *options])}"


@contextlib.contextmanager
def _suggest_after_loss(hint: str) -> Iterator[None]:
    """Add to the message about a process that has ended how to resume."""
    try:
        yield
    except RankError as error:
        raise RankError(f"{error}; the last checkpoint is kept, {hint}") from None


def _options(custom: CustomNetwork | None) -> list[str]:
    return [] if custom is None else ["--network", custom.name]


@contextlib.contextmanager
def suggest_resuming(path: Path) -> Iterator[None]:
    """Add to the message about a file that cannot be written how to resume a run or group."""
    try:
        yield
    except WriteError as error:
        option = shlex.join(["--resume", str(path)])
        remedy, *_ = error.remedy.split(", or name ")  # the place of a run is fixed
        remedy = f"{remedy} and continue with {option}"
        raise WriteError(error.path, error.reason, remedy) from None


def note_missing_kernels(settings: Settings) -> None:
    """Print why native kernels are not used on the CPU, where that can be changed."""
    reason = unavailable_reason() if settings.runtime.device == "cpu" else None
    if reason:
        note(f"training with PyTorch's kernels, which are slower than the native ones: {reason}")


def _note_start(run: RunFolder, settings: Settings, dataset: Dataset, ranks: Ranks) -> None:
    runtime, distillation = settings.runtime, settings.distillation
    train, validation = training_splits(dataset, settings.data)
    parts = [plural(len(train), "image"), plural(settings.training.epochs, "epoch")]
    if distillation.ensemble_size:
        teachers = plural(distillation.ensemble_size, "teacher")
        parts.append(f"{teachers} of {plural(distillation.epochs, 'epoch')} first")
    if distillation.teachers:
        parts.append(f"teachers {', '.join(distillation.teachers)}")
    device = runtime.device.partition(":")[0] if ranks.are_several else runtime.device
    parts += [device, runtime.precision]
    if ranks.are_several:
        parts.append(f"{ranks.world_size} processes")
    parts += [plural(runtime.threads, "thread"), f"{runtime.kernels} kernels"]
    name = training_data_name(dataset.name, settings.data)
    note(f"{settings.recipe} on {name}: {', '.join(parts)} → {run.path}")
    if settings.training.patience and not can_extend(settings):
        note(
            f"patience: the learning rate decays over all {settings.training.epochs} epochs; where "
            "training stops early, it has not reached 0"
        )
    patience, epochs = settings.training.patience, int(settings.training.epochs)
    if patience >= epochs:
        note(f"patience = {patience}: has no effect in {plural(epochs, 'epoch')}")
    note_slow_runtime(runtime)
    inside = 0 if validation is None else int(validation.in_classes.sum())
    if settings.training.abstain_below == "auto" and 0 < inside < MIN_CALIBRATION:
        note(
            f"temperature, confidence and threshold are fitted on {plural(inside, 'image')} of the "
            "validation split, too few to be reliable; with --validation 0 --set "
            "training.calibration_folds=3 they are fitted by cross-validation"
        )
    if distillation.teachers and settings.data.validation:
        note(
            "a teacher that was trained on images of the validation split makes the validation "
            "metrics look better than they are"
        )


def _note_early_stop(settings: Settings, summary: dict[str, Any]) -> None:
    if "stopped_early" not in summary:
        return
    epochs, training = summary["epochs"], settings.training
    kept = (
        f"the weights of epoch {summary['selected_epoch']} are kept"
        if training.select == "best_val"
        else "the last weights are kept (those of the best epoch with --select best_val)"
    )
    note(
        f"stopped early after {epochs} of {training.epochs} epochs: {summary['stopped_early']}; "
        f"{kept}"
    )


def _note_evaluation(
    run: RunFolder, metrics: dict[str, Any], given: list[str], *, has_test: bool
) -> None:
    """Print how to evaluate the test split, with the options `given`, if that was not done."""
    command = shlex.join(["fashioncnn", "evaluate", str(run.path), *given])
    if metrics["test"] is not None:
        return
    if metrics["validation"] is not None:
        if has_test:
            note(f"the test split was not evaluated; for the final result: {command}")
    elif has_test:
        note(
            "no split was evaluated, because this recipe trains on all training images; "
            f"evaluate the test split with: {command}"
        )
    else:
        note(
            "no split was evaluated: the data has no test split, and no validation split was "
            "held out (--validation)"
        )
