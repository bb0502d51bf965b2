"""Predictions as a table, JSON, JSON lines or CSV: pieces of text, made as the predictions come."""

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

HELD = 64
"""Rows of a table that decide how wide its columns are; what follows is printed as it comes."""
SHORTEST_NAME = 12
"""Columns that an image's name keeps however narrow the terminal is."""
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell begins with that spreadsheets take for a formula (OWASP, "CSV Injection")."""

Answer = dict[str, Any]


def as_answer(prediction: Prediction, class_names: tuple[str, ...], top: int) -> Answer:
    """Return a prediction as it stands in the JSON document, with its `top` likeliest classes."""
    likeliest: list[Answer] = []
    if prediction.probabilities is not None:
        order = (-prediction.probabilities).argsort(kind="stable")[:top]
        likeliest = [
            {
                "code": int(code),
                "name": class_names[code],
                "probability": float(prediction.probabilities[code]),
            }
            for code in order
        ]
    return {
        "source": prediction.source,
        "top": likeliest,
        "confidence": prediction.confidence,
        "abstained": prediction.abstained,
        "error": prediction.error,
    }


def as_json(answers: Iterable[Answer], model: str, _: int) -> Iterator[str]:
    """Yield one JSON document, piece by piece."""
    yield f'{{\n "schema": 1,\n "model": {json.dumps(model)},\n "predictions": ['
    for position, answer in enumerate(answers):
        yield (",\n  " if position else "\n  ") + json.dumps(answer, allow_nan=False)
    yield "\n ]\n}\n"


def as_json_lines(answers: Iterable[Answer], *_: object) -> Iterator[str]:
    """Yield a JSON document for each answer, in a line of its own."""
    for answer in answers:
        yield json.dumps(answer, allow_nan=False) + "\n"


def as_csv(answers: Iterable[Answer], _: str, top: int) -> Iterator[str]:
    """Yield a header and a row for each answer (RFC 4180, with plain newlines).

    A cell of text that a spreadsheet would take for a formula gets an apostrophe before it, and
    what could steer a terminal is written as Python would.
    """
    kinds = ("code", "name", "probability")
    titles = [f"{kind}_{rank}" for rank in range(1, top + 1) for kind in kinds]
    yield _csv_row(["source", *titles, "confidence", "abstained", "error"])
    for answer in answers:
        cells = [likely[kind] for likely in answer["top"] for kind in kinds]
        empty = [""] * (len(titles) - len(cells))
        abstained = "true" if answer["abstained"] else "false"
        confidence = "" if answer["confidence"] is None else answer["confidence"]
        last = [confidence, abstained, answer["error"] or ""]
        yield _csv_row([answer["source"], *cells, *empty, *last])


def as_table(answers: Iterable[Answer], _: str, top: int, room: int | None = None) -> Iterator[str]:
    """Yield a table of what could be read, a line at a time.

    Where there is `room` for so many columns, the beginnings of long names are left out.
    """
    rows = (_table_row(answer) for answer in answers if not answer["error"])
    first = list(islice(rows, HELD))
    if not first:
        return
    header = ["Image", *(f"{rank}." for rank in range(1, top + 1))]
    widths = [max(map(cell_len, column)) for column in zip(header, *first, strict=True)]
    if room is not None:
        left = room - sum(widths[1:]) - 2 * top
        widths[0] = min(widths[0], max(left, SHORTEST_NAME))
        rows = ([_ending(row[0], widths[0]), *row[1:]] for row in rows)
        first = [[_ending(row[0], widths[0]), *row[1:]] for row in first]
    yield f"Predictions\n\n{_aligned(header, widths)}\n"
    yield "─" * (sum(widths) + 2 * (len(widths) - 1)) + "\n"
    for row in chain(first, rows):
        yield f"{_aligned(row, widths)}\n"


FORMATS: dict[str, Callable[[Iterable[Answer], str, int], Iterator[str]]] = {
    "table": as_table,
    "json": as_json,
    "jsonl": as_json_lines,
    "csv": as_csv,
}
"""Ways to write answers: functions of them, the model's name and how many classes each has."""


def _table_row(answer: Answer) -> list[str]:
    likely = [f"{one['name']} {100 * one['probability']:.1f}%" for one in answer["top"]]
    if answer["abstained"]:
        likely[0] = f"unsure ({likely[0]})"
    return [one_line(cell) for cell in (answer["source"], *likely)]


def _ending(name: str, width: int) -> str:
    """Return the name, or as much of its end as `width` columns hold after an ellipsis."""
    if cell_len(name) <= width:
        return name
    while cell_len(name) > width - 1:
        name = name[1:]
    return f"…{name}"


def _aligned(cells: list[str], widths: list[int]) -> str:
    pairs = zip(cells, widths, strict=True)
    return "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in pairs).rstrip()


def _csv_row(cells: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(
        _harmless(c) if isinstance(c, str) else c for c in cells
    )  # ends in \r\n, so that a \r within a cell is quoted, too
    return line.getvalue().removesuffix("\r\n") + "\n"


def _harmless(cell: str) -> str:
    shown = "".join(c if c.isprintable() or c in "\t\r\n" else repr(c)[1:-1] for c in cell)
    return f"'{shown}" if cell.startswith(FORMULAS) else shown
