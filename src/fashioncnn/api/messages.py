"""Error messages of the Python API: they name arguments, not options of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from fashioncnn.errors import FashionCNNError

COMMANDS = (
    (re.compile(r"; (?:resume|finish) it with:? .*"), "; it has to be resumed first"),
    (re.compile(r"; name an existing one, or start one with train --out .*"), ""),
    (re.compile(r", or resume it with --resume .*"), ""),
    (re.compile(r", or raise the limit with predict --max-megapixels"), ""),
    (re.compile(r"; run: fashioncnn evaluate .*"), "; evaluate the run first"),
    (re.compile(r"; write it with: fashioncnn export .*"), "; it has to be exported first"),
)
"""Advice that only holds for the command line, and what replaces it."""
OPTION = re.compile(r"--(?P<no>no-)?(?P<name>[a-z][a-z-]*)(?: (?P<value>cpu|torch|onnx)\b)?")
ASSIGNMENT = re.compile(r"--set (\w+)\.(\w+)")


@contextmanager
def python_messages() -> Iterator[None]:
    """Rewrite the messages of errors in the block; also usable as a decorator."""
    try:
        yield
    except FashionCNNError as error:
        error.args = (in_python(str(error)),)
        raise


def in_python(message: str) -> str:
    """Return a message in the terms of the Python API.

    >>> in_python("no test split; add one, or train with --no-track-test")
    'no test split; add one, or train with track_test=False'
    >>> in_python("the loss became nan; try a lower --learning-rate")
    'the loss became nan; try a lower learning_rate'
    """
    for pattern, replacement in COMMANDS:
        message = pattern.sub(replacement, message)
    return OPTION.sub(_argument, ASSIGNMENT.sub(r"\1__\2", message))


def _argument(match: re.Match[str]) -> str:
    name = match["name"].replace("-", "_")
    value = "False" if match["no"] else repr(match["value"]) if match["value"] else None
    return name if value is None else f"{name}={value}"
