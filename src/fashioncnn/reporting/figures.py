"""matplotlib as all figures use it: independent of the user's configuration; style and output.

Other modules import matplotlib's names from here, because its import depends on the environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from fashioncnn.errors import FashionCNNError
from fashioncnn.files import write_atomic


def _import_matplotlib() -> None:
    """Import matplotlib; without the user's configuration of it if that is invalid.

    Raises:
        FashionCNNError: it cannot be imported.
    """
    kept = {}
    try:
        import matplotlib
    except ImportError:
        raise
    except Exception:  # an unknown MPLBACKEND, a matplotlibrc that is not UTF-8 …
        for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
            del sys.modules[name]  # imported in part
        variables = ("MPLBACKEND", "MATPLOTLIBRC")
        kept = {name: os.environ.pop(name) for name in variables if name in os.environ}
        try:
            import matplotlib  # noqa: F401
        except Exception as error:
            raise FashionCNNError(
                f"matplotlib cannot be imported ({error}); correct its configuration file, "
                "matplotlibrc"
            ) from None
    finally:
        os.environ.update(kept)


_import_matplotlib()

from matplotlib import style as matplotlib_style  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.ticker import MaxNLocator, PercentFormatter  # noqa: E402

__all__ = ["Axes", "Figure", "MaxNLocator", "PercentFormatter"]

TEXT_COLOR, GRID, GRAY = "#1b1b1f", "#d9d9de", "#75757f"
SERIES_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B07A00", TEXT_COLOR, GRAY)
"""Okabe and Ito's palette for color-blind readers (jfly.uni-koeln.de/color, 2002); orange is darker
and sky blue is gray, for a contrast of at least 3:1 on white (WCAG 2.2, 1.4.11)."""
PAGE_COLORS = {
    TEXT_COLOR: "var(--text)",
    GRID: "var(--border)",
    GRAY: "var(--series-gray)",
    "#999999": "var(--series-gray)",
    "#0072B2": "var(--series-blue)",
    "#D55E00": "var(--series-orange)",
    "#009E73": "var(--series-green)",
    "#CC79A7": "var(--series-purple)",
    "#B07A00": "var(--series-yellow)",
}
"""Colors that an HTML page replaces by its own, for light and for dark mode."""
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": TEXT_COLOR,
    "axes.labelcolor": TEXT_COLOR,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": TEXT_COLOR,
    "ytick.color": TEXT_COLOR,
    "legend.frameon": False,
    "svg.fonttype": "none",
}
"""matplotlib settings of all figures."""
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
"""Suppresses the SVG metadata block, which is not valid inside HTML."""


class NotebookFigure(Figure):
    """A figure that a notebook shows without pyplot, and so without a choice of a backend."""

    def _repr_png_(self) -> bytes:
        return to_png(self, dpi=100)


@contextlib.contextmanager
def figure_style(**settings: Any) -> Iterator[None]:
    """Draw with `STYLE` and matplotlib's defaults, whatever the user's configuration says.

    Args:
        **settings: further settings of matplotlib, with ``_`` for ``.``; see `STYLE`.
    """
    named = {name.replace("_", "."): value for name, value in settings.items()}
    with matplotlib_style.context(["default", {**STYLE, **named}]), _ignore_missing_glyphs():
        yield


def plain_text(text: str) -> str:
    """Return `text` escaped so that matplotlib does not interpret ``$`` as a formula."""
    return text.replace("$", r"\$")


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes for the same figure."""
    write_atomic(path, to_png(figure))


def to_png(figure: Figure, dpi: int = 150) -> bytes:
    """Return a figure as PNG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(
            buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None}
        )
    return buffer.getvalue()


def to_svg(figure: Figure, label: str) -> str:
    """Return an ``<svg>`` element to embed in an HTML page.

    Colors follow the page's light or dark mode. Element ids are unique for each label and content.

    Args:
        figure: drawn with `STYLE`.
        label: alternative text; plain text, escaped here.
    """
    buffer = io.StringIO()
    with _ignore_missing_glyphs():
        figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    svg = buffer.getvalue()
    # Without matplotlib's style element, which would apply to the whole page.
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    body = body[body.index(">", body.index("<svg")) + 1 :]
    prefix = "f" + hashlib.sha256((label + body).encode(errors="replace")).hexdigest()[:12]
    body = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{prefix}-", body)
    for color, variable in PAGE_COLORS.items():
        body = body.replace(color.lower(), variable)
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None  # noqa: S101 - matplotlib always writes it
    text = escape(label)
    return f'<svg role="img" aria-label="{text}" {view_box[0]}><title>{text}</title>{body}'


@contextlib.contextmanager
def _ignore_missing_glyphs() -> Iterator[None]:
    """Suppress matplotlib's warning about characters that its font lacks.

    They appear as boxes in a PNG; in SVG, the browser's fonts are used.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        yield
