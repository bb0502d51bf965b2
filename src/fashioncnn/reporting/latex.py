"""Tables in LaTeX."""

from __future__ import annotations

from fashioncnn.reporting.tables import Table, one_line

ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "±": r"$\pm$",
    "–": "--",
    "−": "$-$",
    "→": r"$\rightarrow$",
    "<": "$<$",
    ">": "$>$",
}


def escape_latex(text: str) -> str:
    """Return `text` as one line of LaTeX that is set literally."""
    return "".join(ESCAPES.get(character, character) for character in one_line(text))


def table_latex(table: Table) -> str:
    r"""Return a ``tabular`` with the rules of ``booktabs``; the note is a comment above it."""
    columns = "".join("l" if side == "left" else "r" for side in table.alignments)
    comments = [f"% {one_line(text)}" for text in (table.title, table.note) if text]
    lines = [
        *comments,
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _row(table.header),
        r"\midrule",
        *map(_row, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return f"{' & '.join(map(escape_latex, cells))} \\\\"
