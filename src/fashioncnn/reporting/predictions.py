"""Predictions as a table, JSON, JSON lines or CSV, written while they are made."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

from rich.cells import cell_len

from fashioncnn.inference.predictor import Prediction
from fashioncnn.reporting.tables import one_line
from fashioncnn.settings import SCHEMA

SAMPLED_ROWS = 64
"""First rows of a table, which set the widths of its columns; later rows are not buffered."""
MIN_NAME_WIDTH = 12
"""Columns of the terminal that the name of an image gets at least."""
FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")
"""First characters of a cell that spreadsheets evaluate (OWASP, "CSV Injection")."""

CLASS_KEYS = ("code", "name", "probability")
"""Keys of a class in a record."""

Record = dict[str, Any]
"""A prediction in JSON types."""


def to_record(prediction: Prediction, class_names: tuple[str, ...], top: int) -> Record:
    """Return a prediction as it appears in JSON, with its `top` most probable classes."""
    classes: list[Record] = []
    if prediction.probabilities is not None:
        labels = (-prediction.probabilities).argsort(kind="stable")[:top]
        classes = [
            {
                "code": int(label),
                "name": class_names[label],
                "probability": float(prediction.probabilities[label]),
            }
            for label in labels
        ]
    return {
        "source": prediction.source,
        "top": classes,
        "confidence": prediction.confidence,
        "abstained": prediction.abstained,
        "several_garments": prediction.several_garments,
        "error": prediction.error,
    }


def column_names(top: int) -> list[str]:
    """Return the columns of CSV and Parquet, with those of the `top` most probable classes."""
    of_classes = (f"{kind}_{rank}" for rank in range(1, top + 1) for kind in CLASS_KEYS)
    return ["source", *of_classes, "confidence", "abstained", "several_garments", "error"]


def to_row(record: Record, top: int) -> list[Any]:
    """Return the values of a record by column, see `column_names`; None where there is none."""
    cells = [predicted[key] for predicted in record["top"] for key in CLASS_KEYS]
    empty = [None] * (len(CLASS_KEYS) * top - len(cells))
    last = [record[key] for key in ("confidence", "abstained", "several_garments", "error")]
    return [record["source"], *cells, *empty, *last]


def format_json(records: Iterable[Record], model: str, _: int) -> Iterator[str]:
    """Yield one JSON document in pieces."""
    yield f'{{\n "schema": {SCHEMA},\n "model": {json.dumps(model)},\n "predictions": ['
    for position, record in enumerate(records):
        yield (",\n  " if position else "\n  ") + json.dumps(record, allow_nan=False)
    yield "\n ]\n}\n"


def format_jsonl(records: Iterable[Record], *_: object) -> Iterator[str]:
    """Yield one line of JSON per record."""
    for record in records:
        yield json.dumps(record, allow_nan=False) + "\n"


def format_csv(records: Iterable[Record], _: str, top: int) -> Iterator[str]:
    r"""Yield a header and a row per record (RFC 4180, but rows end with ``\n``).

    Text that a spreadsheet would evaluate as a formula is prefixed with an apostrophe; control
    characters are escaped.
    """
    yield _csv_row(column_names(top))
    for record in records:
        yield _csv_row(map(_csv_cell, to_row(record, top)))


def format_table(
    records: Iterable[Record], _: str, top: int, width: int | None = None
) -> Iterator[str]:
    """Yield the lines of a table; records with an error are left out.

    Args:
        records: of the predictions.
        top: classes per record.
        width: of the terminal, for which long names are truncated at their start; None does not
            limit the table.
    """
    rows = (_table_row(record) for record in records if not record["error"])
    sample = list(islice(rows, SAMPLED_ROWS))
    if not sample:
        return
    header = ["Image", *(f"{rank}." for rank in range(1, top + 1))]
    widths = [max(map(cell_len, column)) for column in zip(header, *sample, strict=True)]
    if width is not None:
        available = width - sum(widths[1:]) - 2 * top
        widths[0] = min(widths[0], max(available, MIN_NAME_WIDTH))
    limit = None if width is None else widths[0]
    yield f"Predictions\n\n{_align(header, widths)}\n"
    yield "─" * (sum(widths) + 2 * (len(widths) - 1)) + "\n"
    for name, *cells in chain(sample, rows):
        yield f"{_align([_truncate_start(name, limit), *cells], widths)}\n"


FORMATS: dict[str, Callable[[Iterable[Record], str, int], Iterator[str]]] = {
    "table": format_table,
    "json": format_json,
    "jsonl": format_jsonl,
    "csv": format_csv,
}
"""Functions of records, the name of the model, and the number of classes per record."""


def _table_row(record: Record) -> list[str]:
    classes = [f"{c['name']} {100 * c['probability']:.1f}%" for c in record["top"]]
    if record["abstained"]:
        classes[0] = f"abstained ({classes[0]})"
    return [one_line(cell) for cell in (record["source"], *classes)]


def _truncate_start(name: str, width: int | None) -> str:
    """Return the name, or an ellipsis and its end if it is wider than `width` columns."""
    if width is None or cell_len(name) <= width:
        return name
    while cell_len(name) > width - 1:
        name = name[1:]
    return f"…{name}"


def _align(cells: list[str], widths: list[int]) -> str:
    pairs = zip(cells, widths, strict=True)
    return "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in pairs).rstrip()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def _csv_row(cells: Iterable[Any]) -> str:
    line = io.StringIO()  # rows end in \r\n here, so that a \r within a cell is quoted, too
    csv.writer(line).writerow(_escape(cell) if isinstance(cell, str) else cell for cell in cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def _escape(cell: str) -> str:
    text = "".join(c if c.isprintable() or c in "\t\r\n" else repr(c)[1:-1] for c in cell)
    return f"'{text}" if cell.startswith(FORMULA_PREFIXES) else text
