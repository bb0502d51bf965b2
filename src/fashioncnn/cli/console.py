"""Output of the command line: results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.markup import render
from rich.text import Text

if TYPE_CHECKING:
    from fashioncnn.reporting.tables import Table

UNLIMITED_WIDTH = 10_000
"""Columns for tables that are not shown on a terminal."""


def note(message: str) -> None:
    """Print a message on stderr."""
    _print(Text(printable(message)), sys.stderr)


def printable(text: str) -> str:
    """Return `text` with control characters escaped, so that it cannot control a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(value, indent=1, allow_nan=False))  # noqa: T201


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables on stdout, as wide as a terminal at most."""
    width = None if sys.stdout.isatty() else UNLIMITED_WIDTH
    console = Console(width=width, highlight=False, soft_wrap=True)
    for table in tables:
        grid = table.to_rich()
        _print(render(str(grid.title), "bold"), sys.stdout)
        grid.title = None  # rich would wrap it to the width of the table
        console.print(grid)
        if table.note:
            _print(Text(f"{printable(table.note)}\n"), sys.stdout)


def print_text(text: str) -> None:
    """Print a paragraph on stdout."""
    _print(Text(printable(text)), sys.stdout)


def _print(text: Text, file: TextIO) -> None:
    """Print text, wrapped between words on a terminal and not at all elsewhere."""
    if not file.isatty():
        print(text.plain, file=file, flush=True)
        return
    text.overflow = "ignore"  # a word longer than a line is left to the terminal
    Console(file=file, highlight=False).print(text, crop=False)
