"""A contact sheet of similar images: pairs, from the most to the least similar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from fashioncnn.data.contact_sheet import (
    BACKGROUND,
    COUNT_SIZE,
    MARGIN,
    MIN_SIDE,
    NAME_SIZE,
    SECONDARY_TEXT,
    TEXT,
    TITLE_HEIGHT,
    TITLE_SIZE,
    enlarged,
)
from fashioncnn.data.dataset import Split
from fashioncnn.data.duplicates import Duplicates, Pair

WARNING = "#b3261e"
HEADING, CAPTION, PAIR_GAP = 22, 26, 16
"""Heights of the text above a row and below a pair, and the space between pairs, in pixels."""
CELL = 2 * MIN_SIDE + PAIR_GAP


def draw_pairs(
    splits: Mapping[str, Split], found: Sequence[Duplicates], title: str, columns: int = 8
) -> Image.Image:
    """Return an RGB image of similar pairs: for each two splits a row, the most similar first.

    Below each pair is its correlation, in red if the labels differ.

    Args:
        splits: by name.
        found: their duplicates; those without pairs have no row.
        title: first line of the sheet.
        columns: pairs in a row at most, evenly spaced among those listed.
    """
    rows = [duplicates for duplicates in found if duplicates.pairs]
    height = HEADING + MIN_SIDE + CAPTION
    size = (2 * MARGIN + columns * CELL, 2 * MARGIN + TITLE_HEIGHT + len(rows) * height)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, TEXT, ImageFont.load_default(TITLE_SIZE))
    for row, duplicates in enumerate(rows):
        top = MARGIN + TITLE_HEIGHT + row * height
        names = " and ".join(dict.fromkeys((duplicates.first, duplicates.second)))
        text = f"{names}: {duplicates.near_pairs:,} pairs"
        draw.text((MARGIN, top), text, TEXT, ImageFont.load_default(NAME_SIZE))
        first, second = splits[duplicates.first], splits[duplicates.second]
        for column, pair in enumerate(_evenly_spaced(duplicates.pairs, columns)):
            corner = (MARGIN + column * CELL, top + HEADING)
            _draw_pair(sheet, corner, first, second, pair)
    return sheet


def _evenly_spaced(pairs: Sequence[Pair], count: int) -> list[Pair]:
    """Return `count` pairs at most, the first and the last among them."""
    if len(pairs) <= count:
        return list(pairs)
    return [pairs[round(i * (len(pairs) - 1) / (count - 1))] for i in range(count)]


def _draw_pair(
    sheet: Image.Image, corner: tuple[int, int], first: Split, second: Split, pair: Pair
) -> None:
    """Draw two images side by side, and their correlation."""
    left, top = corner
    for offset, split, index in ((0, first, pair.first), (MIN_SIDE, second, pair.second)):
        image = split.images[(split.indices == index).argmax()]
        sheet.paste(enlarged(image, MIN_SIDE), (left + offset, top))
    color = SECONDARY_TEXT if pair.same_label else WARNING
    font = ImageFont.load_default(COUNT_SIZE)
    ImageDraw.Draw(sheet).text((left, top + MIN_SIDE), f"{pair.similarity:.4f}", color, font)
