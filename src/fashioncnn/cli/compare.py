"""``fashioncnn compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note, print_json, print_tables, print_text


def compare(
    a: Path,
    b: Path,
    /,
    *,
    split: Literal["auto", "validation", "test"] = "auto",
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Is B better than A? Paired tests and intervals on the same images.

    Parameters
    ----------
    a
        A finished run, or a group or folder of finished runs that differ only in their seed.
        Groups with the same seeds are compared in pairs of a seed.
    b
        The same; a run if A is a run, a folder if A is a folder.
    split
        Split to compare on; auto is validation if all runs hold out the same images, else test.
    json
        Print the comparison as one JSON document.
    """
    from fashioncnn.environment import require_modules

    require_modules("compare")
    from fashioncnn.reporting.comparison import comparison_tables
    from fashioncnn.reporting.run_comparison import compare_runs

    comparison = compare_runs(a, b, split, note)
    if json:
        print_json(comparison)
        return
    print_tables(comparison_tables(comparison))
    print_text(comparison["verdict"])
