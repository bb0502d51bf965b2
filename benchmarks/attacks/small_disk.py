"""A real file system that is too small, where this process may mount one."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from attacks.lab import Lab, Outcome, Prepared, is_error
from attacks.scenarios import SCENARIOS

LARGE = 256 << 20
ATTEMPTS = 8
"""Sizes for each command."""


def small_disk(lab: Lab) -> Outcome:
    """Run every command on a disk that is too small, then continue it with more space."""
    outcome = Outcome()
    for name in lab.shuffled([name for name in SCENARIOS for _ in range(ATTEMPTS)]):
        prepared = lab.prepare(name, SCENARIOS[name], process=True)
        work = lab.new_folder()
        with mounted(work) as possible:
            if not possible:
                print("small: skipped, this process may not mount a file system")
                return outcome
            outcome.add(*_attempt(lab, name, prepared, work))
            os.chdir(lab.folder)
        lab.remove(work)
    return outcome


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[bool]:
    """Mount a file system in memory during the block; yields whether that is possible."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "tmpfs", str(folder)]
    possible = shutil.which("mount") is not None and not _fails(mount)
    try:
        yield possible
    finally:
        if possible:
            _fails(["umount", "--lazy", str(folder)])


def _attempt(lab: Lab, name: str, prepared: Prepared, work: Path) -> tuple[str, str | None]:
    """Return a label, and what is wrong."""
    shutil.copytree(prepared.before, work, dirs_exist_ok=True, symlinks=True)
    needed = sum(len(c) for c in prepared.expected.values() if isinstance(c, bytes))
    status = os.statvfs(work)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    size = used + lab.random.randrange(needed)
    label = f"{name}, {size - used:,} free bytes"
    if _fails(["mount", "-o", f"remount,size={size}", str(work)]):
        return label, "the size of the file system cannot be changed"
    ended = lab.run(prepared.scenario.command, work)
    problem = is_error(ended)
    _fails(["mount", "-o", f"remount,size={LARGE}", str(work)])
    return label, problem or lab.proceed(prepared, work, process=True)


def _fails(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode != 0
