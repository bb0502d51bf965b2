"""Creating a folder with its content, so that no process finds it incomplete."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from fashioncnn.errors import RunError, WriteError
from fashioncnn.files import (
    create_exclusive,
    is_temporary,
    reject_url,
    sync_folder,
    temporary_path,
    write_errors,
)
from fashioncnn.locks import LOCK_FILE, FolderLock, lock_folder

MARKER = ".incomplete"
"""File in a folder that is filled in place, until its last file is written."""
ATTEMPTS = 5
"""To lock a new hidden folder, which another process may take for an abandoned one."""
LOCKED = "another process is creating this folder"

Fill = Callable[[Path], None]
"""Writes the content into a folder; the file that marks it as complete comes last."""


class NotVacantError(Exception):
    """A folder contains something, or a path is not a folder."""


@contextlib.contextmanager
def new_folder(path: Path, fill: Fill, last: str) -> Iterator[None]:
    """Create a folder and hold its lock during the block.

    It is filled under a hidden name next to `path`, locked, and then renamed. An empty folder is
    replaced; where that is impossible (a mount point, a parent that cannot be written), it is
    locked and filled in place.

    Args:
        path: new, or an empty folder; hidden temporary files do not count.
        fill: writes the content.
        last: name of the file that `fill` writes last.

    Raises:
        NotVacantError: there is something else, perhaps created by another process just now.
        RunError: another process is creating the folder in place.
        WriteError: a folder or file cannot be written.
        UsageError: the path is a URL.
    """
    reject_url(path)
    with write_errors(path):
        if not is_vacant(path, last):
            raise NotVacantError
        destination = Path(os.path.realpath(path))  # `resolve` fails on links to themselves
        destination.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(destination)
    with contextlib.ExitStack() as stack:
        if not _create_beside(path, destination, fill, last, stack):
            _fill_in_place(path, fill, last, stack)
        yield


def is_vacant(path: Path, last: str) -> bool:
    """Return whether `new_folder` can create a folder at `path`."""
    if not path.exists():
        return True
    if not path.is_dir():
        return False
    names = {entry.name for entry in path.iterdir() if not is_temporary(entry)} - {LOCK_FILE}
    return not names or (MARKER in names and last not in names)


def _create_beside(
    path: Path, destination: Path, fill: Fill, last: str, stack: contextlib.ExitStack
) -> bool:
    """Fill a hidden folder and rename it; return False if an empty folder cannot be replaced.

    The lock is held until `stack` ends.
    """
    exists = destination.is_dir()
    if exists and (destination.is_mount() or destination.samefile(Path.cwd())):
        return False
    with contextlib.ExitStack() as inner:
        try:
            hidden, lock = _lock_hidden(path, destination, inner)
        except WriteError:  # the parent cannot be written
            if exists:
                return False
            raise
        try:
            fill(hidden)
            sync_folder(hidden)
            renamed = _rename(hidden, path, destination, last)
        except BaseException as error:
            shutil.rmtree(hidden, ignore_errors=True)
            if isinstance(error, WriteError) and error.path.is_relative_to(hidden):
                target = path / error.path.relative_to(hidden)
                raise WriteError(target, error.reason, error.remedy) from None
            raise
        if not renamed:
            shutil.rmtree(hidden, ignore_errors=True)
            return False
        lock.path = destination
        stack.push(inner.pop_all())
    sync_folder(destination.parent)
    return True


def _lock_hidden(
    path: Path, destination: Path, stack: contextlib.ExitStack
) -> tuple[Path, FolderLock]:
    """Create and lock a hidden folder next to `destination`."""
    for _ in range(ATTEMPTS):
        hidden = temporary_path(destination)
        with write_errors(path):
            hidden.mkdir()
        with contextlib.suppress(RunError, FileNotFoundError):
            lock = stack.enter_context(lock_folder(hidden, LOCKED))
            if hidden.exists():
                return hidden, lock
    raise RunError(f"{path}: a hidden folder next to it cannot be locked")


def _rename(hidden: Path, path: Path, destination: Path, last: str) -> bool:
    """Rename a folder to `destination`; return False if that is a folder that stays in place."""
    exists = destination.is_dir()
    if exists and any(destination.iterdir()):
        _require_vacant(destination, last)  # before the lock, which the owner of a run may hold
        with lock_folder(destination, LOCKED):
            _require_vacant(destination, last)
            _clear(destination)
            (destination / MARKER).unlink(missing_ok=True)
    try:
        if exists and os.name == "nt":  # a rename replaces no folder there
            destination.rmdir()
        hidden.rename(destination)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise NotVacantError from None
        if exists:
            return False
        with write_errors(path):
            raise
    return True


def _fill_in_place(path: Path, fill: Fill, last: str, stack: contextlib.ExitStack) -> None:
    """Fill an empty folder under its lock, which is held until `stack` ends."""
    stack.enter_context(lock_folder(path, LOCKED))
    _require_vacant(path, last)
    try:
        create_exclusive(path / MARKER, b"")
    except WriteError as error:
        raise WriteError(path, error.reason, error.remedy) from None
    try:
        _clear(path)
        fill(path)
    except BaseException:
        _clear(path)
        raise
    finally:
        (path / MARKER).unlink(missing_ok=True)


def _require_vacant(path: Path, last: str) -> None:
    if not is_vacant(path, last):
        raise NotVacantError


def _clear(folder: Path) -> None:
    """Remove what a killed process left in a folder that is vacant."""
    for entry in folder.iterdir():
        if entry.name in (MARKER, LOCK_FILE):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _remove_abandoned(destination: Path) -> None:
    """Remove hidden folders that killed processes left next to `destination`."""
    with contextlib.suppress(OSError):  # the parent cannot be read
        for hidden in destination.parent.iterdir():
            if is_temporary(hidden, destination.name) and hidden.is_dir():
                with contextlib.suppress(RunError, OSError), lock_folder(hidden, LOCKED):
                    shutil.rmtree(hidden)
