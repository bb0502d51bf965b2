"""What ``fashioncnn predict`` reads: sources on the command line, in a list, on standard input."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from fashioncnn.cli.predict_arguments import STDIN, Sources, reject_model_folder
from fashioncnn.errors import UsageError
from fashioncnn.images.files import OnSkip
from fashioncnn.images.limits import max_bytes
from fashioncnn.inference.sources import ImageSource, find_sources, read_list
from fashioncnn.reading import is_url, missing, open_regular, reason


@contextmanager
def open_images(sources: Sources, on_skip: OnSkip) -> Iterator[Iterator[ImageSource]]:
    """Open standard input or the list, if they are sources, and yield the images of all sources.

    Args:
        sources: of the images.
        on_skip: called with each file in a folder that is not an image.
    """
    limit = max_bytes(sources.max_pixels)
    stdin = sys.stdin.buffer if STDIN in sources.names else io.BytesIO()
    with _open_list(sources.from_file) as file:
        listed = map(reject_model_folder, read_list(file))
        yield chain(
            find_sources(sources.names, stdin, limit, on_skip),
            find_sources(listed, io.BytesIO(), limit, on_skip),
        )


@contextmanager
def _open_list(from_file: str | None) -> Iterator[BinaryIO]:
    if from_file is None:
        yield io.BytesIO()
    elif from_file == STDIN:
        yield sys.stdin.buffer
    else:
        with _open_file(Path(from_file)) as file:
            yield file


def _open_file(path: Path) -> BinaryIO:
    """Open a list, which may also be a pipe, as in ``--from-file <(find …)``, or a terminal."""
    if is_url(path):
        raise UsageError(f"--from-file {missing(path)}")
    try:
        file = open_regular(path) if not _is_stream(path) else path.open("rb")
    except OSError as error:
        raise UsageError(f"--from-file {path}: {reason(error)}") from None
    if stat.S_ISCHR(os.fstat(file.fileno()).st_mode) and not file.isatty():
        file.close()
        raise UsageError(f"--from-file {path}: a device; give a file, or - for standard input")
    return file


def _is_stream(path: Path) -> bool:
    mode = path.stat().st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
