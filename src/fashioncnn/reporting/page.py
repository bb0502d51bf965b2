"""HTML pages: one file each, without scripts and external resources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from fashioncnn._version import __version__
from fashioncnn.reporting.run_figures import comparison_svg, curves_svg, series_style
from fashioncnn.reporting.run_report import RunReport
from fashioncnn.reporting.side_by_side import side_by_side_tables
from fashioncnn.reporting.tables import (
    class_rows,
    class_summary,
    confused_pairs_table,
    percent,
    percent_interval,
    summary_table,
)


def render_page(reports: Sequence[RunReport]) -> str:
    """Return the page of one run, or of several runs side by side."""
    if len(reports) == 1:
        return page_template("run.html.j2").render(report=reports[0], version=__version__)
    histories = [report.history for report in reports]
    return page_template("runs.html.j2").render(
        reports=reports,
        tables=side_by_side_tables(reports),
        curves=[
            comparison_svg(histories, split, metric)
            for split in ("val", "test")
            if any(history[-1][f"{split}_loss"] is not None for history in histories)
            for metric in ("accuracy", "loss")
        ],
        version=__version__,
    )


@lru_cache
def page_template(name: str) -> Template:
    """Return a template; all templates escape HTML and extend ``base.html.j2``.

    Args:
        name: of a file in this package.
    """
    environment = Environment(
        loader=PackageLoader("fashioncnn", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["percent_interval"] = percent_interval
    environment.filters["tint"] = _tint
    environment.filters["wrapping"] = _wrapping
    environment.globals |= {
        "class_rows": class_rows,
        "class_summary": class_summary,
        "confused_pairs_table": confused_pairs_table,
        "curves_svg": curves_svg,
        "series_style": series_style,
        "summary_table": summary_table,
    }
    return environment.get_template(name)


def _tint(count: int, row: list[int]) -> int:
    """Return the opacity of a cell of the confusion matrix, in percent.

    The square root makes rare confusions visible.
    """
    return round(100 * math.sqrt(count / max(sum(row), 1)))


def _wrapping(text: str) -> str:
    """Return the CSS class of a table cell whose text is long or has long words, or ``""``."""
    longest_word = max(map(len, text.split()), default=0)
    return "wrap" if longest_word > 20 else "long" if len(text) > 40 else ""
