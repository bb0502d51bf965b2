"""Lets the n-th file operation of this process fail, as on a full disk."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from .recorder import WRITING

FAILING_EVENTS = ("os.mkdir", "os.rename", "os.symlink")
"""Audit events, beside opening for writing, of operations that need space."""


@dataclass
class FullDisk:
    """The disk of one folder.

    Attributes:
        folder: whose files cannot grow.
        fails_at: number of the first failing operation, from 0; all later ones fail as well.
        count: operations so far.
    """

    folder: Path
    fails_at: int
    count: int = 0

    @property
    def has_failed(self) -> bool:
        """Whether an operation failed."""
        return self.count > self.fails_at

    def use(self, path: str) -> None:
        """Count an operation that needs space; raise `OSError` if there is none left."""
        if not path.startswith(f"{self.folder}/"):
            return
        self.count += 1
        if self.has_failed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def on_audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Count an audit event."""
        path = arguments[0]
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        if not isinstance(path, int):
            self.use(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100


_active: list[FullDisk] = []
_installed = False


def _dispatch(event: str, arguments: tuple[Any, ...]) -> None:
    if _active and (event == "open" or event in FAILING_EVENTS):
        _active[-1].on_audit(event, arguments)


@contextlib.contextmanager
def full_disk(folder: Path, fails_at: int) -> Iterator[FullDisk]:
    """Let operations in a folder fail from number `fails_at` until the end of the block.

    Creating, renaming and flushing files count; a full disk may report an error for any of them.
    """
    global _installed  # noqa: PLW0603 - an audit hook cannot be removed
    if not _installed:
        sys.addaudithook(_dispatch)
        _installed = True
    disk, fsync = FullDisk(folder.resolve(), fails_at), os.fsync

    def failing_fsync(descriptor: int) -> None:
        disk.use(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    _active.append(disk)
    try:
        with patch("os.fsync", failing_fsync):
            yield disk
    finally:
        _active.remove(disk)
