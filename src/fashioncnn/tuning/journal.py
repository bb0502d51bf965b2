"""Repair of the journal after a crash."""

from __future__ import annotations

import json
from pathlib import Path

from fashioncnn.errors import RunError
from fashioncnn.files import write_atomic


def repair_journal(path: Path) -> int:
    """Truncate a journal after its last complete line, and remove stale lock files.

    Optuna flushes each line before it writes the next, so a crash leaves at most an incomplete or
    zero-filled end.

    Returns:
        The number of bytes removed.

    Raises:
        RunError: a line before the end is damaged, which no crash explains.
    """
    for lock in path.parent.glob(path.name + ".lock*"):  # of earlier versions
        lock.unlink()
    if not path.exists():
        return 0
    content = path.read_bytes()
    valid = 0
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        if not line.endswith(b"\n") or not _is_entry(line):
            if any(_is_entry(rest) for rest in content[valid + len(line) :].splitlines()):
                raise RunError(f"{path}: line {number} is damaged, and valid lines follow it")
            break
        valid += len(line)
    if valid < len(content):
        write_atomic(path, content[:valid])
    return len(content) - valid


def _is_entry(line: bytes) -> bool:
    """Return whether a line is a JSON object."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
