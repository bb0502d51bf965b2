"""Bounded reads: every file that is parsed as a whole is read here.

Only regular files are opened, since a FIFO blocks and a device never ends, and never more is read
than a limit that the caller states. A problem is an `OSError` whose `strerror` is the reason, so
that callers report it like a missing file or missing permission.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

TOML_BYTES = 1 << 20
"""Limit on a settings file, a recipe or a search space; the longest recipe has 2 kB."""
CONFIG_BYTES = 1 << 20
"""Limit on a model's config.json, an environment.json or a classes.txt; with 256 class names these
have about 20 kB."""
METRICS_BYTES = 32 << 20
"""Limit on metrics.json; the confusion matrix of 256 classes has less than 1 MB per split."""
HISTORY_BYTES = 64 << 20
"""Limit on history.jsonl; an epoch has about 300 bytes, so this is enough for 200,000 epochs."""
TRACKING_BYTES = 1 << 20
"""``tracking.json``: two identities."""
JOURNAL_BYTES = 256 << 20
"""Limit on the journal of a search; an entry has about 150 bytes, so this is enough for a million
trials."""
CHUNK_BYTES = 1 << 20

FILE_TYPES = {
    stat.S_IFIFO: "a FIFO, which is never read; give a regular file",
    stat.S_IFSOCK: "a socket, which is never read; give a regular file",
    stat.S_IFCHR: "a device, which is never read; give a regular file",
    stat.S_IFBLK: "a device, which is never read; give a regular file",
    stat.S_IFDIR: "a folder, not a file",
}
MAX_KEY_PARTS = 50
"""Limit on the parts of a dotted TOML key; the time that `tomllib` needs is cubic in them."""
_TOML_KEY_PART = r"""(?:"[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*\.[ \t]*"""
_LONG_TOML_KEY = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_TOML_KEY_PART}){{{MAX_KEY_PARTS}}}")
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)
"""The beginning of a URL. A single letter is a drive of Windows; `Path` keeps one slash only."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file, or a symbolic link to one, for reading.

    Raises:
        OSError: it cannot be opened, or is not a regular file. Such files are never opened, since
            that may block.
    """
    _require_regular(path.stat(), path)
    # O_NONBLOCK: if the path has become a FIFO since, opening it must not block.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _require_regular(os.fstat(file.fileno()), path)
    except BaseException:
        file.close()
        raise
    return file


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a regular file.

    Args:
        path: of the file.
        limit: in bytes. Nothing is read of a larger file.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger than `limit`.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > limit:
            _reject_size(path, limit)
        content = bytearray()
        while chunk := file.read(min(CHUNK_BYTES, limit + 1 - len(content))):
            content += chunk
    if len(content) > limit:  # it grew, or its size is not known, as in /proc
        _reject_size(path, limit)
    return bytes(content)


def read_text(path: Path, limit: int) -> str:
    """Return the content of a UTF-8 text file, with line ends as newlines.

    Raises:
        OSError: see `read_bytes`.
        UnicodeDecodeError: it is not UTF-8.
    """
    text = read_bytes(path, limit).decode("utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, limit: int) -> Any:
    """Return the value in a JSON file.

    Raises:
        OSError: see `read_bytes`.
        ValueError: it is not JSON.
    """
    return parse_json(read_bytes(path, limit))


def parse_json(content: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON. ``NaN`` and ``Infinity``, which Python accepts, are not JSON.
    """
    try:
        return json.loads(content, parse_constant=_reject_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_toml(path: Path, limit: int = TOML_BYTES) -> dict[str, Any]:
    """Return the values of a TOML file.

    Raises:
        OSError: see `read_bytes`.
        ValueError: it is not TOML.
    """
    return parse_toml(read_bytes(path, limit).decode("utf-8"))


def parse_toml(text: str) -> dict[str, Any]:
    """Return the values of a TOML text.

    Raises:
        ValueError: it is not TOML, or has a key of more than `MAX_KEY_PARTS` parts.
    """
    if _LONG_TOML_KEY.search(text):
        raise ValueError(f"a dotted key of more than {MAX_KEY_PARTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def reason(error: OSError | ValueError) -> str:
    """Return why a file cannot be read, for a message that names the file."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def is_url(name: str | os.PathLike[str]) -> bool:
    """Return whether a name is that of something on the network, also after it became a `Path`."""
    return _URL.match(os.fspath(name)) is not None


def as_typed(path: str | os.PathLike[str]) -> str:
    """Return a path for a message; a URL gets back the slash that `Path` removed."""
    text = os.fspath(path)
    return _URL.sub(r"\1://", text, count=1) if is_url(text) else text


def missing(name: str | os.PathLike[str]) -> str:
    """Return the message about a path that does not exist."""
    return f"{as_typed(name)}: {why_missing(name)}"


def why_missing(name: str | os.PathLike[str], what: str = "file") -> str:
    """Return the end of a message about a path that does not exist.

    Args:
        name: that was given.
        what: should be there.
    """
    if is_url(name):
        is_local = os.fspath(name).lower().startswith("file:")
        return f"URLs are not read; {'' if is_local else 'download it, and '}give its path"
    return f"no such {what}"


def _require_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = FILE_TYPES.get(stat.S_IFMT(status.st_mode), "not a regular file")
        raise OSError(errno.EINVAL, what, str(path))


def _reject_size(path: Path, limit: int) -> NoReturn:
    shown = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit:,} bytes"
    raise OSError(errno.EFBIG, f"larger than the limit of {shown} for this kind of file", str(path))


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
