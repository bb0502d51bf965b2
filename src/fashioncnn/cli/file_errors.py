"""One line for errors of the file system: which file, why, and what to do."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fashioncnn.errors import FashionCNNError, UsageError

ADVICE = {
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
"""What to do, by number of the error."""
TEMPORARY_NAME = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}")
"""Name of a temporary file of `fashioncnn.files.atomic_file`."""


def file_error(error: OSError, subject: str) -> FashionCNNError:
    """Return the error for a file that could not be read or written.

    Args:
        error: of the file system.
        subject: name of the file; that of a temporary file is replaced by the final one.
    """
    folder, name = os.path.split(subject)
    temporary = TEMPORARY_NAME.fullmatch(name)
    if temporary:
        subject = os.path.join(folder, temporary["name"])  # noqa: PTH118
    reason = error.strerror or str(error) or type(error).__name__
    advice = ADVICE.get(error.errno or 0)
    return FashionCNNError(f"{subject}: {reason}{f'; {advice}' if advice else ''}")


def check_file(option: str, path: Path) -> None:
    """Reject an output file that cannot be written, before any work is done.

    Args:
        option: as it is typed.
        path: its value.

    Raises:
        UsageError: it is not a file, or its folder is missing or cannot be written.
        FashionCNNError: the file system rejects the path.
    """
    with writing(option, path):
        if path.exists() and not path.is_file():
            raise UsageError(f"{option} {path}: exists and is not a file; name another file")
        if not path.parent.is_dir():
            raise UsageError(
                f"{option} {path}: folder {path.parent} does not exist; create it, or name a file "
                "elsewhere"
            )
        check_folder(option, path.parent)


def check_folder(option: str, folder: Path) -> None:
    """Raise `UsageError` if no file can be created in an existing folder."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(
            f"{option}: no file can be written into {folder}; change its permissions, or name "
            "another place"
        )


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Report errors of a block that writes the output of an option.

    Args:
        option: as it is typed.
        path: its value, or a file in that folder.

    Raises:
        FashionCNNError: it cannot be written.
    """
    try:
        yield
    except BrokenPipeError:  # of stdout or stderr
        raise
    except OSError as error:
        raise file_error(error, f"{option} {path}: cannot be written") from None
