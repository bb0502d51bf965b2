"""The journal of a search: repair after a crash, and a check of every entry.

Optuna replays the journal without checking it: an entry of another search, or a missing one, is
applied to the wrong trial or ends in an arbitrary exception.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fashioncnn.errors import RunError
from fashioncnn.files import write_atomic
from fashioncnn.reading import JOURNAL_BYTES, parse_json, read_bytes, reason

STUDY_NAME = "fashioncnn"
HOW_TO_CONTINUE = "restore the file from a copy, or start a new search with --out"
CREATE_STUDY, CREATE_TRIAL, SET_STATE, SET_LOSS = 0, 4, 6, 7
STUDY_OPERATIONS = frozenset({2, 3, CREATE_TRIAL})
TRIAL_OPERATIONS = frozenset({5, SET_STATE, SET_LOSS, 8, 9})
"""Codes of Optuna's ``JournalOperation`` that a search writes: parameters, states, losses,
attributes. Studies and trials are never deleted."""
FINISHED_STATES = frozenset({1, 2, 3})
"""Values of Optuna's ``TrialState`` for complete, pruned and failed."""
STATES = frozenset({0, 4}) | FINISHED_STATES
"""With running and waiting."""


def repair_journal(path: Path) -> int:
    """Truncate a journal after its last complete line, and remove stale lock files.

    Optuna flushes each line before it writes the next, so a crash leaves at most an incomplete or
    zero-filled end.

    Returns:
        The number of bytes removed.

    Raises:
        RunError: it cannot be read; a line before the end is damaged, which no crash explains; or
            an entry is missing, or belongs to another search.
    """
    for lock in path.parent.glob(path.name + ".lock*"):  # of earlier versions
        lock.unlink()
    if not path.exists():
        return 0
    try:
        content = read_bytes(path, JOURNAL_BYTES)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({reason(error)})") from None
    valid = 0
    entries = []
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        entry = _parse_entry(line)
        if entry is None or not line.endswith(b"\n"):
            rest = content[valid + len(line) :].splitlines()
            if any(_parse_entry(later) is not None for later in rest):
                raise RunError(f"{path}: line {number} is damaged, and valid lines follow it")
            break
        entries.append(entry)
        valid += len(line)
    check_entries(path, entries)
    if valid < len(content):
        write_atomic(path, content[:valid])
    return len(content) - valid


def check_entries(path: Path, entries: list[dict[str, Any]]) -> None:
    """Check that entries are those of one search, each for a trial that exists and is not finished.

    Args:
        path: of the journal, for the message.
        entries: one per line.

    Raises:
        RunError: they are not; the message names the first such line.
    """
    finished: list[bool] = []  # by number of the trial
    for number, entry in enumerate(entries, 1):
        try:
            problem = _apply(entry, finished, is_first=number == 1)
        except (KeyError, TypeError, ValueError):
            problem = "fields of its operation are missing or invalid"
        if problem:
            raise RunError(
                f"{path}: line {number}: {problem}, so entries are missing or of another search; "
                f"{HOW_TO_CONTINUE}"
            )


def _apply(entry: dict[str, Any], finished: list[bool], *, is_first: bool) -> str | None:
    """Update the list of trials; return the problem of an entry, if it has one."""
    operation = entry["op_code"]
    if not isinstance(entry["worker_id"], str):
        return "the name of its process is missing"
    if is_first and operation != CREATE_STUDY:
        return "the study is not created"
    if operation == CREATE_STUDY:
        is_ours = entry["study_name"] == STUDY_NAME and entry["directions"] == [1]
        return None if is_ours else "another study"
    if operation in STUDY_OPERATIONS:
        if operation == CREATE_TRIAL:
            finished.append(entry.get("state") in FINISHED_STATES)
        return None if _is_whole(entry["study_id"]) and entry["study_id"] == 0 else "another study"
    if operation not in TRIAL_OPERATIONS:
        return f"unknown operation {operation!r}"
    return _apply_to_trial(entry, finished)


def _apply_to_trial(entry: dict[str, Any], finished: list[bool]) -> str | None:
    trial = entry["trial_id"]
    if not (_is_whole(trial) and 0 <= trial < len(finished)):
        return f"trial {trial!r} does not exist"
    if finished[trial]:
        return f"trial {trial} is finished already"
    if entry["op_code"] == SET_STATE:
        finished[trial] = entry["state"] in FINISHED_STATES
        return _state_problem(entry["state"], entry["values"])
    if entry["op_code"] == SET_LOSS:
        return _loss_problem(entry["step"], entry["intermediate_value"])
    return None


def _state_problem(state: Any, values: Any) -> str | None:
    if not (_is_whole(state) and state in STATES):
        return f"unknown state {state!r}"
    return None if all(map(_is_finite, values or ())) else "a loss that is not a finite number"


def _loss_problem(epoch: Any, loss: Any) -> str | None:
    if not (_is_whole(epoch) and epoch > 0):
        return f"epoch {epoch!r}"
    return None if _is_finite(loss) else "a loss that is not a finite number"


def _parse_entry(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a line; None if there is none."""
    try:
        entry = parse_json(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
