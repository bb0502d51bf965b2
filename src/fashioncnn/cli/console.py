"""How the command line speaks: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from fashioncnn.reporting.tables import Table

WIDER_THAN_ANY_TABLE = 10_000


def note(message: str) -> None:
    """Say something about how it goes, on stderr."""
    print(printable(message), file=sys.stderr, flush=True)  # noqa: T201


def printable(text: str) -> str:
    """Return `text` with every character that could steer a terminal made visible."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def print_json(value: Any) -> None:
    """Print one JSON document, and nothing else, on stdout."""
    print(json.dumps(value, indent=1, allow_nan=False))  # noqa: T201


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables on stdout; off a terminal they are as wide as they need to be."""
    width = None if sys.stdout.isatty() else WIDER_THAN_ANY_TABLE
    console = Console(width=width, highlight=False, soft_wrap=True)
    for table in tables:
        console.print(table.to_rich())
        if table.note:
            console.print(f"{escape(printable(table.note))}\n")


def print_text(text: str) -> None:
    """Print a paragraph on stdout, wrapped by words on a terminal."""
    width = None if sys.stdout.isatty() else WIDER_THAN_ANY_TABLE
    Console(width=width, highlight=False).print(escape(printable(text)))
