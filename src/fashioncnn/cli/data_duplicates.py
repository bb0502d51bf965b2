"""``fashioncnn data --duplicates``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fashioncnn.data import duplicates
from fashioncnn.reporting.tables import Table

if TYPE_CHECKING:
    from PIL.Image import Image

    from fashioncnn.data.dataset import Dataset
    from fashioncnn.data.duplicates import Duplicates


def find_duplicates(dataset: Dataset, similarity: float | None) -> list[Duplicates]:
    """Return the duplicates within and between the splits of a dataset."""
    threshold = duplicates.SIMILARITY if similarity is None else similarity
    return duplicates.find_duplicates(dataset.splits, threshold)


def duplicates_table(found: Sequence[Duplicates]) -> Table:
    """Return the numbers of duplicates as a table."""
    rows = tuple(
        (
            f"within {d.first}" if d.first == d.second else f"{d.second}, also in {d.first}",
            f"{d.exact.sum():,} of {len(d.exact):,}",
            f"{d.exact_pairs:,}",
            f"{d.near.sum():,} of {len(d.near):,}",
            f"{d.near_pairs:,}",
            f"{d.other_label:,}",
        )
        for d in found
    )
    note = (
        f"Similar: the correlation of the pixels is at least {found[0].threshold:g}. Duplicates "
        "between training and test split make the test accuracy too high."
    )
    header = ("Images", "Exact", "Pairs", "Similar or exact", "Pairs", "Of these, other label")
    return Table("Duplicates", header, rows, note=note)


def draw_duplicates(dataset: Dataset, found: Sequence[Duplicates]) -> Image:
    """Return a contact sheet of similar pairs."""
    from fashioncnn.data.pair_sheet import draw_pairs

    title = f"{dataset.name}, correlation of at least {found[0].threshold:g}"
    return draw_pairs(dataset.splits, found, title)
