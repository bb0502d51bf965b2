"""Reading and writing files so that a crash leaves either the old or the new content.

No other module opens a file for writing.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fashioncnn.errors import RunError, UsageError


def write_atomic(path: Path, content: bytes) -> None:
    """Replace `path` by a file with `content`, or leave it as it was."""
    with atomic_file(path) as file:
        file.write(content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` when the block ends without an exception."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:  # named before it exists, so that it is removed however the block ends
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def lock_folder(path: Path, message: str) -> Iterator[None]:
    """Lock a folder for this process; the system releases the lock however the process ends.

    Raises:
        RunError: another process holds the lock; with `message`.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no flock
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{path}: {message}") from None
        yield
    finally:
        os.close(descriptor)


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


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
