"""Writing files so that a crash leaves either the old or the new content.

No other module opens a file for writing; `tests/test_writing.py` checks this.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from fashioncnn.errors import UsageError, WriteError
from fashioncnn.reading import as_typed, is_url

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from PIL.Image import Image

REMEDIES = {
    errno.ENOSPC: "free some space, or name a place on another disk",
    errno.EDQUOT: "free some space, or name a place on another disk",
    errno.EFBIG: "raise the limit on file sizes, or name a place on another disk",
    errno.EACCES: "change its permissions, or name another place",
    errno.EPERM: "change its permissions, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.ENOENT: "check that its folder exists",
    errno.ENOTDIR: "a folder in this path is a file; name another place",
    errno.EISDIR: "this is a folder; name a file",
    errno.EEXIST: "name another place",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ELOOP: "a symbolic link points to itself; name another place",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close other programs, which have too many files open",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the network mount",
}
"""What to do about an error of the file system, by its number."""
NAME_LENGTH = 48
"""Characters of a file's name in that of its temporary file; names are limited to 255 bytes."""


def write_atomic(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace `path` by a file with `content`, or leave it as it was.

    Args:
        path: the file.
        content: of the file.
        mode: permissions, less those of the umask.

    Raises:
        WriteError: it cannot be written.
    """
    with atomic_file(path, mode) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically; see `write_atomic`."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_png(path: Path, image: Image) -> None:
    """Write an image as PNG, atomically; see `write_atomic`."""
    with atomic_file(path) as file:
        image.save(file, "PNG")


@contextlib.contextmanager
def atomic_file(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` when the block ends without an exception.

    Raises:
        WriteError: the file cannot be written. Other errors of the block are not changed.
    """
    temporary = temporary_path(path)
    try:  # named before it exists, so that it is removed however the block ends
        with _create(temporary, path, mode) as file:
            yield file
            file.flush()
            with write_errors(path):
                os.fsync(file.fileno())
        with write_errors(path):
            temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn errors of the system in the block into a `WriteError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise WriteError(path, error.strerror or str(error), _remedy(error)) from None


def _remedy(error: OSError) -> str:
    """Return what to do about an error of the file system."""
    if error.errno == errno.EEXIST and error.filename is not None:
        obstacle = Path(os.fsdecode(error.filename))
        what = "a symbolic link that leads nowhere" if obstacle.is_symlink() else "not a folder"
        return f"{obstacle} is {what}; name another place"
    return REMEDIES.get(error.errno or 0, "check the disk")


def reject_url(path: Path, option: str = "") -> None:
    """Raise `UsageError` for an output that is a URL, which would be a folder of this name here."""
    if is_url(path):
        raise UsageError(
            f"{option} {as_typed(path)}: URLs are not written; name a place on this machine".strip()
        )


def make_folder(path: Path) -> None:
    """Create a folder and its parents unless it exists; raises `WriteError`, `UsageError`."""
    reject_url(path)
    with write_errors(path):
        path.mkdir(parents=True, exist_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, where the file system has that."""
    if os.name == "nt":  # folders cannot be opened there
        return
    with write_errors(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        finally:
            os.close(descriptor)


def temporary_path(path: Path) -> Path:
    """Return a new hidden name next to `path`: ``.<name>.<8 digits>.tmp``."""
    return path.parent / f".{path.name[:NAME_LENGTH]}.{os.urandom(4).hex()}.tmp"


def is_temporary(path: Path, target: str | None = None) -> bool:
    """Return whether `path` was named by `temporary_path`, for a file named `target` if given."""
    name = ".+" if target is None else re.escape(target[:NAME_LENGTH])
    return re.fullmatch(rf"\.{name}\.[0-9a-f]{{8}}\.tmp", path.name, re.DOTALL) is not None


def remove_temporary_files(folder: Path, target: str | None = None) -> None:
    """Remove temporary files that killed processes left in a folder.

    Files that a running process writes are locked by it and kept.

    Args:
        folder: may be missing.
        target: remove only temporary files of this name.
    """
    with contextlib.suppress(OSError):  # missing, or not writable
        for path in folder.iterdir():
            if is_temporary(path, target) and not path.is_symlink() and path.is_file():
                _remove_abandoned(path)


def try_lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed; return whether no other process has it.

    Windows has no such lock, but keeps files that are open from being removed.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def create_exclusive(path: Path, content: bytes) -> bool:
    """Create a file that does not exist yet; return False if it exists.

    This is not atomic: a crash may leave an empty file. It is for locks, where existence counts.

    Raises:
        WriteError: it cannot be created.
    """
    with write_errors(path):
        try:
            with path.open("xb") as file:
                file.write(content)
        except FileExistsError:
            return False
    return True


def cache_folder() -> Path:
    """Return the cache folder: ``FASHIONCNN_HOME``, else ``fashioncnn`` in the XDG cache.

    Raises:
        UsageError: it begins with the home of a user who does not exist.
    """
    home = os.environ.get("FASHIONCNN_HOME")
    if home:
        return expand_user(home, "FASHIONCNN_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expand_user(cache, "cache folder (set FASHIONCNN_HOME)") / "fashioncnn"


def expand_user(path: str, name: str) -> Path:
    """Return `path` with ``~`` expanded.

    Args:
        path: as given by the user.
        name: of the option, for the message.

    Raises:
        UsageError: there is no such user, or no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"{name} = {path}: no such home folder; write the path out") from None


class _OutputFile(io.FileIO):
    """A temporary file whose errors name the file that it will replace."""

    def __init__(self, temporary: Path, path: Path, mode: int) -> None:
        self.path = path
        with write_errors(path):
            super().__init__(temporary, "x", opener=lambda name, flags: os.open(name, flags, mode))

    def write(self, data: ReadableBuffer, /) -> int:
        with write_errors(self.path):
            return super().write(data)


def _create(temporary: Path, path: Path, mode: int) -> io.BufferedWriter:
    """Create and lock a temporary file."""
    while True:
        output = _OutputFile(temporary, path, mode)
        with contextlib.suppress(OSError):  # a file system without locks
            try_lock(output.fileno())
        if os.name == "nt" or os.fstat(output.fileno()).st_nlink:
            return io.BufferedWriter(output)
        output.close()  # removed by another process before it was locked


def _remove_abandoned(path: Path) -> None:
    """Remove a temporary file unless another process has locked it."""
    with path.open("rb") as file:
        if try_lock(file.fileno()):
            path.unlink(missing_ok=True)
