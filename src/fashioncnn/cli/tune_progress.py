"""Progress of a search: a live table on a terminal, a line for each trial elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence

import optuna
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape

from fashioncnn.cli.console import note
from fashioncnn.cli.progress import duration
from fashioncnn.reporting.search_tables import best_trials_table
from fashioncnn.reporting.trials import (
    Dimension,
    Trial,
    best_trial,
    count_states,
    format_value,
)
from fashioncnn.tracking.track import Track
from fashioncnn.tracking.tracker import tracked_trial
from fashioncnn.tuning.progress import SearchCallback, SearchProgress
from fashioncnn.tuning.sampling import FINALIST_OF, SEED

REFRESH_SECONDS = 0.25
NAME_WIDTH, TRIAL_WIDTH = 20, 14
"""Characters that the names of the settings and each trial take in the table."""
MAX_COLUMNS = 6


class TrialLines:
    """A callback that writes a line for each trial."""

    def __init__(self, dimensions: list[Dimension]) -> None:
        self.dimensions = dimensions

    def on_update(self, progress: SearchProgress) -> None:
        """See `SearchCallback.on_update`."""

    def on_trial_end(self, trial: Trial, progress: SearchProgress) -> None:
        """Write the result of a trial."""
        note(trial_line(trial, progress, self.dimensions))

    def close(self) -> None:
        """Do nothing; lines stay."""


class LiveTable:
    """A callback that draws a table of the best trials and the progress of the running ones."""

    def __init__(self, dimensions: list[Dimension]) -> None:
        self.dimensions = dimensions
        self.refreshed = 0.0
        self.live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def on_update(self, progress: SearchProgress) -> None:
        """Redraw the table if it is old enough."""
        now = time.monotonic()
        if now - self.refreshed < REFRESH_SECONDS:
            return
        self.refreshed = now
        if not self.live.is_started:
            self.live.start()
        self.live.update(self._draw(progress), refresh=True)

    def on_trial_end(self, trial: Trial, progress: SearchProgress) -> None:
        """Print trials that the table does not show above it."""
        if trial.state in ("failed", "interrupted"):
            line = trial_line(trial, progress, self.dimensions)
            self.live.console.print(escape(line), highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Remove the table."""
        self.live.stop()

    def _draw(self, progress: SearchProgress) -> Group:
        width = self.live.console.width
        columns = min(MAX_COLUMNS, max(1, (width - NAME_WIDTH) // TRIAL_WIDTH))
        running = [
            f"trial {trial.number}: {_epoch_text(trial, progress)}"
            for trial in progress.trials
            if trial.state == "running"
        ]
        table = best_trials_table(progress.trials, self.dimensions, columns).to_rich()
        has_results = best_trial(progress.trials) is not None
        return Group(escape(progress_line(progress)), *running, *[table] * has_results)


class FinalistLines:
    """A callback that writes a line for each training of a finalist."""

    def __init__(self, study: optuna.Study) -> None:
        self.study = study

    def on_update(self, progress: SearchProgress) -> None:
        """See `SearchCallback.on_update`."""

    def on_trial_end(self, trial: Trial, progress: SearchProgress) -> None:
        """Write the result of a training."""
        attributes = self.study.get_trials(deepcopy=False)[trial.number].user_attrs
        name = f"trial {attributes[FINALIST_OF]} with seed {attributes[SEED]}"
        columns = [f"finalists {progress.finished}/{progress.target:.0f}", name]
        note("  ".join([*columns, *_result_texts(trial)]))


class TrackedProgress:
    """A callback that shows the progress with another one, and tracks finished trials.

    Attributes:
        every: whether trials of earlier calls are tracked, too, unless they were; not those of
            other machines.
        finalists: the study of the finalists, if their trainings are tracked.
    """

    def __init__(
        self,
        shown: SearchCallback,
        track: Track,
        *,
        every: bool,
        finalists: optuna.Study | None = None,
    ) -> None:
        self.shown, self.track, self.every, self.finalists = shown, track, every, finalists

    def on_update(self, progress: SearchProgress) -> None:
        """See `SearchCallback.on_update`."""
        self.shown.on_update(progress)

    def on_trial_end(self, trial: Trial, progress: SearchProgress) -> None:
        """Show and track the trial."""
        self.shown.on_trial_end(trial, progress)
        self._log(progress.trials if self.every else [trial])

    def on_end(self, trials: Sequence[Trial]) -> None:
        """Track what an earlier call trained without being tracked."""
        if self.every:
            self._log(trials)

    def _log(self, trials: Sequence[Trial]) -> None:
        finished = [trial for trial in trials if trial.is_finished]
        if self.finalists is None:
            self.track.log_trials(map(tracked_trial, finished))
            return
        runs = self.finalists.get_trials(deepcopy=False)
        self.track.log_trials(
            tracked_trial(
                t, runs[t.number].user_attrs[FINALIST_OF], runs[t.number].user_attrs[SEED]
            )
            for t in finished
        )


def make_search_callback(dimensions: list[Dimension]) -> TrialLines | LiveTable:
    """Return a live table if stderr is a terminal, otherwise lines."""
    return LiveTable(dimensions) if sys.stderr.isatty() else TrialLines(dimensions)


def trial_line(trial: Trial, progress: SearchProgress, dimensions: list[Dimension]) -> str:
    """Return the result of a trial in one line."""
    target = "" if math.isinf(progress.target) else f"/{progress.target:.0f}"
    columns = [f"{progress.finished}{target}", f"trial {trial.number}", *_result_texts(trial)]
    best = best_trial(progress.trials)
    if best is not None:
        columns.append(f"best {best.loss:.4f} (trial {best.number})")
    if trial.state != "interrupted":
        columns.append(settings_text(trial, dimensions))
    return "  ".join(columns)


def settings_text(trial: Trial, dimensions: list[Dimension]) -> str:
    """Return the settings of a trial, as ``learning_rate 0.001, dropout 0.5``."""
    values = trial.parameters
    return ", ".join(
        f"{d.name} {format_value(values[d.key])}" for d in dimensions if d.key in values
    )


def progress_line(progress: SearchProgress) -> str:
    """Return numbers of trials, trials per hour and remaining time in one line."""
    limited = not math.isinf(progress.target)
    columns = [f"{progress.finished}{f' of {progress.target:.0f}' * limited} trials"]
    columns += filter(None, [count_states(progress.trials, "pruned", "failed", "interrupted")])
    elapsed = time.monotonic() - progress.started
    finished = progress.finished - progress.finished_before
    if finished:
        columns.append(f"{3600 * finished / elapsed:,.0f} per hour")
    if finished and limited:
        remaining = elapsed / finished * (progress.target - progress.finished)
        columns.append(f"{duration(remaining)} left")
    return " · ".join(columns)


def _result_texts(trial: Trial) -> list[str]:
    if trial.state == "failed":
        return [f"failed: {trial.reason}"]
    if trial.state == "interrupted":
        return [f"interrupted, its worker {trial.reason}; queued again"]
    texts = [f"loss {trial.loss:.4f}"]
    if trial.accuracy is not None:
        texts.append(f"{100 * trial.accuracy:.2f}%")
    if trial.seconds is not None:
        texts.append(f"{trial.seconds:.0f} s")
    if trial.state == "pruned":
        texts.append(f"pruned after epoch {trial.epochs}")
    return texts


def _epoch_text(trial: Trial, progress: SearchProgress) -> str:
    epoch = f"epoch {min(trial.epochs + 1, progress.epochs)}/{progress.epochs}"
    return epoch if trial.loss is None else f"{epoch}, loss {trial.loss:.4f}"
