"""A search as it goes: a live table of the best trials on a terminal, a line a trial elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape

from fashioncnn.cli.console import note
from fashioncnn.cli.progress import duration
from fashioncnn.reporting.search import best_columns, counted, ranked
from fashioncnn.reporting.search_figures import Scale, value_text
from fashioncnn.tuning.search import State

REFRESH_SECONDS = 0.25
NAME_WIDTH, TRIAL_WIDTH, MOST_COLUMNS = 20, 14, 6
"""Letters that the table of the best needs, and how many trials it shows."""

Trial = dict[str, Any]


def trial_line(trial: Trial, state: State, scales: list[Scale]) -> str:
    """Return in one line what became of a trial."""
    wanted = "" if state.wanted == float("inf") else f"/{state.wanted:.0f}"
    return "  ".join(
        [f"{state.ended}{wanted}", f"trial {trial['number']}", *_outcome(trial), *_best(state)]
        + ([values_text(trial, scales)] if trial["state"] != "lost" else [])
    )


def values_text(trial: Trial, scales: list[Scale]) -> str:
    """Return ``learning_rate 0.001, dropout 0.5``."""
    values = trial["parameters"]
    return ", ".join(f"{s.name} {value_text(values[s.key])}" for s in scales if s.key in values)


def standing(state: State) -> str:
    """Return in one line how far the search is, how fast, and when it will be done."""
    counts = {s: sum(t["state"] == s for t in state.trials) for s in ("pruned", "failed", "lost")}
    wanted = "" if state.wanted == float("inf") else f" of {state.wanted:.0f}"
    parts = [f"{state.ended}{wanted} trials"]
    parts += [counted(counts, tuple(counts))] * any(counts.values())
    passed, done = time.monotonic() - state.began, state.ended - state.ended_before
    if done:
        parts.append(f"{3600 * done / passed:,.0f} an hour")
        if state.wanted != float("inf"):
            parts.append(f"{duration(passed / done * (state.wanted - state.ended))} left")
    return " · ".join(parts)


class TrialLines:
    """An observer that writes a line for each trial."""

    def __init__(self, scales: list[Scale]) -> None:
        self.scales = scales

    def show(self, state: State) -> None:
        """See `Observer.show`."""

    def trial(self, trial: Trial, state: State) -> None:
        """Write what became of it."""
        note(trial_line(trial, state, self.scales))


class LiveTable:
    """An observer that draws the best trials and those that run."""

    def __init__(self, scales: list[Scale]) -> None:
        self.scales = scales
        self.shown_at = 0.0
        self.live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)

    def show(self, state: State) -> None:
        """Draw, a few times a second."""
        now = time.monotonic()
        if now - self.shown_at < REFRESH_SECONDS:
            return
        self.shown_at = now
        if not self.live.is_started:
            self.live.start()
        self.live.update(self._draw(state), refresh=True)

    def trial(self, trial: Trial, state: State) -> None:
        """Leave a line above the table of what has no place in it."""
        if trial["state"] in ("failed", "lost"):
            line = trial_line(trial, state, self.scales)
            self.live.console.print(escape(line), highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Take the table away."""
        self.live.stop()

    def _draw(self, state: State) -> Group:
        width = self.live.console.width
        columns = min(MOST_COLUMNS, max(1, (width - NAME_WIDTH) // TRIAL_WIDTH))
        running = [t for t in state.trials if t["state"] == "running"]
        lines = [f"trial {t['number']}: {_so_far(t, state)}" for t in running]
        best = [best_columns(state.trials, self.scales, columns).to_rich()]
        return Group(escape(standing(state)), *lines, *best * bool(ranked(state.trials)))


def make_search_observer(scales: list[Scale]) -> TrialLines | LiveTable:
    """Return what fits stderr: a table on a terminal, lines elsewhere."""
    return LiveTable(scales) if sys.stderr.isatty() else TrialLines(scales)


def _outcome(trial: Trial) -> list[str]:
    if trial["state"] == "failed":
        return [f"failed: {trial['reason']}"]
    if trial["state"] == "lost":
        return [f"lost, its worker {trial['reason']}; it is run again"]
    early = [f"stopped early after {trial['epochs']}"] * (trial["state"] == "pruned")
    accuracy = [f"{100 * trial['accuracy']:.2f}%"] * (trial["accuracy"] is not None)
    return [f"loss {trial['loss']:.4f}", *accuracy, f"{trial['seconds']:.0f} s", *early]


def _best(state: State) -> list[str]:
    best = ranked(state.trials)[:1]
    return [f"best {t['loss']:.4f} (trial {t['number']})" for t in best]


def _so_far(trial: Trial, state: State) -> str:
    if not trial["epochs"]:
        return f"epoch 1/{state.epochs}"
    return (
        f"epoch {min(trial['epochs'] + 1, state.epochs)}/{state.epochs}, loss {trial['loss']:.4f}"
    )
