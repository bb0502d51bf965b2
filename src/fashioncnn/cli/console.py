"""Output of the command line: results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.markup import render
from rich.text import Text

if TYPE_CHECKING:
    from fashioncnn.reporting.tables import Table

UNLIMITED_WIDTH = 10_000
"""Columns for tables that are not shown on a terminal."""


def note(message: str) -> None:
    """Print a message on stderr; one that cannot be written does not end the command.

    Raises:
        BrokenPipeError: the reader of stderr has exited.
    """
    try:
        _print(printable(message), sys.stderr)
    except BrokenPipeError:
        raise
    except OSError:  # a full disk, or a terminal that was closed
        return


def printable(text: str) -> str:
    """Return `text` with control characters escaped, so that it cannot control a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def plural(n: int | str, noun: str) -> str:
    """Return a number and a noun: ``1 image``, ``3,000 images``."""
    number = n if isinstance(n, str) else f"{n:,}"
    return f"{number} {noun}" if n == 1 else f"{number} {noun}s"


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(value, indent=1, allow_nan=False))  # noqa: T201


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables on stdout, as wide as a terminal at most."""
    width = None if sys.stdout.isatty() else UNLIMITED_WIDTH
    console = Console(width=width, highlight=False, soft_wrap=True)
    for table in tables:
        grid = table.to_rich()
        _print(render(str(grid.title)).plain, sys.stdout, "bold")
        grid.title = None  # rich would wrap it to the width of the table
        console.print(grid)
        if table.note:
            _print(f"{printable(table.note)}\n", sys.stdout)


def print_text(text: str) -> None:
    """Print a paragraph on stdout."""
    _print(printable(text), sys.stdout)


def _print(text: str, file: TextIO, style: str = "") -> None:
    """Print text, wrapped between words on a terminal and not at all elsewhere."""
    if not file.isatty():
        print(text, file=file, flush=True)
        return
    console = Console(file=file, highlight=False)
    console.print(Text(_wrap(text, console.width), style), soft_wrap=True)


def _wrap(text: str, width: int) -> str:
    """Return text with line breaks between words; a word wider than a line stays whole."""
    words = text.split(" ")
    lines = words[:1]
    for word in words[1:]:
        if cell_len(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)
