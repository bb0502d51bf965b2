"""The compiled library on disk, in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path

from fashioncnn.errors import UsageError, WriteError
from fashioncnn.files import cache_folder, remove_temporary_files, write_atomic

DIGEST_SIZE = hashlib.sha256().digest_size
"""Bytes appended to a cached library: the SHA-256 of those before. Loaders ignore them."""


def cached_path(fingerprint: str) -> Path | None:
    """Return the file for a library of that fingerprint; None without a home folder."""
    try:
        return cache_folder() / "kernels" / f"{fingerprint}.so"
    except UsageError:  # a user that the system does not know
        return None


def store(library: Path, path: Path) -> None:
    """Copy a library to `path` atomically; do nothing where the cache is not writable."""
    content = library.read_bytes()
    with contextlib.suppress(OSError, WriteError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_temporary_files(path.parent)
        write_atomic(path, content + hashlib.sha256(content).digest(), mode=0o600)


def is_trusted(path: Path) -> bool:
    """Return whether the file exists as `store` wrote it, and only this user can write to it.

    Loading a truncated library would crash the process. Loading one that others can write to would
    execute their code.
    """
    try:
        status, content = path.stat(), path.read_bytes()
    except OSError:
        return False
    others_can_write = stat.S_IWGRP | stat.S_IWOTH
    return (
        status.st_uid == os.geteuid()
        and not status.st_mode & others_can_write
        and hashlib.sha256(content[:-DIGEST_SIZE]).digest() == content[-DIGEST_SIZE:]
    )
