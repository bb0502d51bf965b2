"""Locks of folders: one process at a time trains in a run or searches in a folder.

On local disks the lock is on the folder itself: it survives a rename, and the system releases it
however the process ends. Network file systems may ignore such locks between machines; there, a file
names the process that holds the lock.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fashioncnn.errors import RunError
from fashioncnn.files import create_exclusive, remove_temporary_files, try_lock
from fashioncnn.reading import read_text

LOCK_BYTES = 1024
"""Limit on a lock file: a host name of at most 255 characters, and a number."""
LOCK_FILE = ".lock"
"""Name of the lock file in a folder on a network file system."""
MOUNTS = Path("/proc/mounts")
NETWORK_TYPES = re.compile(
    r"nfs\d?|cifs|smb\w*|9p|afs|ceph|glusterfs|lustre|gpfs|beegfs|vboxsf|virtiofs|fuse(\..+)?"
)
"""Types of mounts that another machine, or the host of a virtual one, can write to as well."""


@dataclass
class FolderLock:
    """A lock that is held.

    Attributes:
        path: of the folder; to be changed when it is renamed.
    """

    path: Path


@contextlib.contextmanager
def lock_folder(path: Path, message: str) -> Iterator[FolderLock]:
    """Lock a folder for this process, and remove temporary files that killed ones left in it.

    Args:
        path: an existing folder.
        message: of the error, after the path.

    Raises:
        RunError: another process holds the lock, or the folder cannot be locked.
    """
    lock = FolderLock(path)
    with _lock(lock, message):
        remove_temporary_files(path)
        yield lock


def mount_type(path: Path) -> str:
    """Return the type of the file system that contains `path`; empty where it is unknown."""
    try:
        lines = MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:  # not Linux
        return ""
    resolved, longest, found = path.resolve(), -1, ""
    for line in lines:
        _, escaped, kind, *_ = line.split(" ")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), escaped)
        if resolved.is_relative_to(point) and len(point) >= longest:  # the last mount is on top
            longest, found = len(point), kind
    return found


def _lock(lock: FolderLock, message: str) -> contextlib.AbstractContextManager[None]:
    if NETWORK_TYPES.fullmatch(mount_type(lock.path)):
        return _exclusive_file(lock, message)
    return (_file_in_temporary_folder if os.name == "nt" else _folder_itself)(lock, message)


@contextlib.contextmanager
def _folder_itself(lock: FolderLock, message: str) -> Iterator[None]:
    try:
        descriptor = os.open(lock.path, os.O_RDONLY)
    except OSError as error:
        raise RunError(f"{lock.path}: cannot be locked ({error.strerror})") from None
    try:
        try:
            locked = try_lock(descriptor)
        except OSError as error:
            raise RunError(f"{lock.path}: cannot be locked ({error.strerror})") from None
        if not locked:
            raise RunError(f"{lock.path}: {message}")
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _file_in_temporary_folder(lock: FolderLock, message: str) -> Iterator[None]:
    """Lock a file named after the folder's number; on Windows, folders cannot be locked.

    An open file in the folder would prevent its rename.
    """
    import filelock

    status = lock.path.stat()
    name = f"fashioncnn-{status.st_dev:x}-{status.st_ino:x}.lock"
    try:
        with filelock.FileLock(Path(tempfile.gettempdir()) / name, timeout=0):
            yield
    except filelock.Timeout:
        raise RunError(f"{lock.path}: {message}") from None


@contextlib.contextmanager
def _exclusive_file(lock: FolderLock, message: str) -> Iterator[None]:
    content = f"{socket.gethostname()} {os.getpid()}\n"
    if not create_exclusive(lock.path / LOCK_FILE, content.encode()):
        raise RunError(f"{lock.path}: {_describe_owner(lock.path / LOCK_FILE, message)}")
    try:
        yield
    finally:
        (lock.path / LOCK_FILE).unlink(missing_ok=True)


def _describe_owner(file: Path, message: str) -> str:
    """Return the message about a lock file; of a stale one, with the command that removes it."""
    remove = f"remove its lock with: {shlex.join(['rm', str(file)])}"
    try:
        host, pid = read_text(file, LOCK_BYTES).split()
        number = int(pid)
    except (OSError, ValueError):
        return f"locked by an unknown process; if it has ended, {remove}"
    owner = f"process {number} on {host}"
    if host != socket.gethostname():
        return f"{message} ({owner}); if it has ended, {remove}"
    if _is_running(number):
        return f"{message} ({owner})"
    return f"locked by {owner}, which has ended; {remove}"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it belongs to another user
        return True
    return True
