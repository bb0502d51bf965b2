"""One line for errors of the file system: which file, why, and what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fashioncnn.errors import FashionCNNError, UsageError, WriteError
from fashioncnn.files import REMEDIES, reject_url

TEMPORARY_NAME = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp")
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
    advice = REMEDIES.get(error.errno or 0)
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
    reject_url(path, option)
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
    except WriteError as error:
        raise FashionCNNError(
            f"{option} {path}: cannot be written: {error.reason}; {error.remedy}"
        ) from None
    except OSError as error:
        raise file_error(error, f"{option} {path}: cannot be written") from None
