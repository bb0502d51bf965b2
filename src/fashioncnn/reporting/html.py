"""Tables and figures as HTML that a notebook shows, without styles of a page."""

from __future__ import annotations

from html import escape

from fashioncnn.images.data_uri import png_uri
from fashioncnn.reporting.figures import Figure, to_png
from fashioncnn.reporting.tables import Table


def table_html(table: Table) -> str:
    """Return a table with its title above and its note below."""
    head = "".join(
        f'<th style="text-align: {side}">{escape(name)}</th>'
        for name, side in zip(table.header, table.alignments, strict=True)
    )
    rows = "".join(f"<tr>{_cells(row, table)}</tr>" for row in table.rows)
    note = f"<p>{escape(table.note)}</p>" if table.note else ""
    title = f"<h4>{escape(table.title)}</h4>" if table.title else ""
    return f"{title}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}"


def figure_html(figure: Figure, text: str, dpi: int = 80) -> str:
    """Return a figure as an image.

    Args:
        figure: to show.
        text: alternative text.
        dpi: resolution.
    """
    image = png_uri(to_png(figure, dpi))
    return f'<img src="{image}" alt="{escape(text)}" style="max-width: 100%">'


def _cells(row: tuple[str, ...], table: Table) -> str:
    return "".join(
        f'<td style="text-align: {side}">{escape(cell)}</td>'
        for cell, side in zip(row, table.alignments, strict=True)
    )
