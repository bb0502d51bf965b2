"""Tracking of one training or search, to several places."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fashioncnn.data.options import ignore
from fashioncnn.errors import InterruptedRun, TerminatedRun, WriteError
from fashioncnn.runs import RunFolder
from fashioncnn.tracking.background import Background
from fashioncnn.tracking.options import TrackerOption
from fashioncnn.tracking.record import TrackingRecord
from fashioncnn.tracking.tracker import (
    Artifacts,
    Status,
    TrackedRun,
    TrackedTrial,
    Tracker,
    epoch_metrics,
    final_metrics,
)
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.state import Record, TrainState

CLOSE_SECONDS, INTERRUPTED_SECONDS = 120.0, 10.0
"""Time to wait for a server at the end of a run, and of an interrupted one."""
SECONDARY = ("teacher ", "fold ")
"""Beginnings of the names of trainings within a run, which are not tracked."""

Notify = Callable[[str], None]


class Track(Callback):
    """Sends what a training reports to trackers, each in a thread of its own.

    It reads records and files only, so that the trained weights do not depend on it. A tracker that
    fails is reported once and then left out.

    Attributes:
        name: of the run.
        parameters: settings by dotted key.
    """

    def __init__(
        self,
        trackers: Mapping[TrackerOption, Tracker],
        name: str,
        parameters: Mapping[str, Any],
        folder: Path | None = None,
        notify: Notify = ignore,
    ) -> None:
        self.name, self.parameters, self._notify = name, parameters, notify
        self._record = TrackingRecord(folder)
        if trackers:
            with contextlib.suppress(OSError, WriteError):  # of a disk on which the run fails, too
                self._record.remember_places([str(option) for option in trackers])
        self._threads = {
            option: (tracker, Background(f"track {option}")) for option, tracker in trackers.items()
        }
        self._reported: set[TrackerOption] = set()
        self._tracked_trials: set[str] = set()

    def start(self, history: Sequence[Mapping[str, float]] = ()) -> None:
        """Begin or continue the run in each tracker."""
        for option, (tracker, thread) in self._threads.items():
            run = TrackedRun(
                self.name,
                self.parameters,
                list(history),
                self._record.identity(option.kind),
                partial(self._record.remember, option.kind),
            )
            thread.submit(tracker.start, run)

    def on_start(self, state: TrainState, images: int) -> None:  # noqa: ARG002
        """Begin or continue the run."""
        if not state.name.startswith(SECONDARY):
            self.start([epoch_metrics(record) for record in state.history])

    def on_epoch(self, state: TrainState, record: Record) -> None:
        """Send the metrics of the epoch."""
        if not state.name.startswith(SECONDARY):
            self._submit("log_epoch", record["epoch"], epoch_metrics(record))

    def log_trials(self, trials: Iterable[TrackedTrial]) -> None:
        """Send the trials and finalists of a search that were not sent yet."""
        for trial in trials:
            if trial.key not in self._tracked_trials:
                self._tracked_trials.add(trial.key)
                self._submit("log_trial", trial)

    def finish_run(self, metrics: Mapping[str, Any], run: RunFolder | None) -> None:
        """Send final metrics, and the files of a run folder."""
        artifacts = Artifacts()
        if run is not None:
            image = {"confusion_matrix": run.path / "confusion_matrix.png"}
            artifacts = Artifacts([run.path / "report.html"], image, run.model)
        self.finish(final_metrics(metrics), artifacts)

    def finish(self, metrics: Mapping[str, float], artifacts: Artifacts) -> None:
        """Send final metrics and files."""
        self._submit("finish", metrics, artifacts)

    def close(self, status: Status) -> None:
        """End the run, and wait for the trackers for a limited time."""
        seconds = CLOSE_SECONDS if status == "FINISHED" else INTERRUPTED_SECONDS
        self._submit("close", status)
        for _, thread in self._threads.values():
            thread.close(seconds)
        self._report()

    def _submit(self, method: str, *arguments: Any) -> None:
        for tracker, thread in self._threads.values():
            thread.submit(getattr(tracker, method), *arguments)
        self._report()

    def _report(self) -> None:
        """Report each tracker that failed, once."""
        for option, (_, thread) in self._threads.items():
            if thread.failure is not None and option not in self._reported:
                self._reported.add(option)
                reason = thread.failure
                if option.target is not None:
                    reason = reason.replace(option.target, str(option).partition(":")[2])
                self._notify(f"--track {option}: stopped, and the work goes on ({reason})")


@contextlib.contextmanager
def tracking(
    options: Sequence[TrackerOption],
    name: str,
    parameters: Mapping[str, Any],
    folder: Path | None,
    notify: Notify,
) -> Iterator[Track]:
    """Yield a `Track`, which is closed with the status of the block.

    Args:
        options: where to track; may be empty.
        name: of the run.
        parameters: settings by dotted key.
        folder: of the run or search; None for a training in memory.
        notify: called with a line about each tracker that fails.
    """
    trackers = {option: make_tracker(option, folder) for option in options}
    track = Track(trackers, name, parameters, folder, notify)
    try:
        yield track
    except BaseException as error:
        stopped = isinstance(error, InterruptedRun | TerminatedRun | KeyboardInterrupt)
        track.close("KILLED" if stopped else "FAILED")
        raise
    track.close("FINISHED")


def make_tracker(option: TrackerOption, folder: Path | None) -> Tracker:
    """Return the tracker for an option.

    Args:
        option: as given.
        folder: of the run or search. By default TensorBoard's files are in it, and MLflow's
            SQLite file is beside it, so that several runs share it.
    """
    if option.kind == "tensorboard":
        from fashioncnn.tracking.tensorboard import TensorBoardTracker

        if option.target is None:
            return TensorBoardTracker((folder or Path()) / "tensorboard", own=folder is not None)
        return TensorBoardTracker(Path(option.target), own=False)
    from fashioncnn.tracking.mlflow import MLflowTracker

    if option.target is not None and option.target.startswith(("http:", "https:")):
        return MLflowTracker(option.target, None)
    beside = Path() if folder is None else folder.resolve().parent
    target = option.target or str(beside / "mlflow.db")
    path = Path(target.removeprefix("sqlite:///")).resolve()
    return MLflowTracker(f"sqlite:///{path}", path.with_name("mlflow-artifacts"))
