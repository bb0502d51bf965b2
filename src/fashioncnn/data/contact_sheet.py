"""A contact sheet: some images of every class in one image."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fashioncnn.data.dataset import Split

BACKGROUND, TEXT, SECONDARY_TEXT = "#ffffff", "#1b1b1f", "#6b6b73"
MIN_SIDE = 56
"""Side to which smaller images are enlarged, by an integer factor, in pixels."""
GAP, MARGIN, MIN_LABEL_WIDTH, TITLE_HEIGHT = 4, 20, 120, 44
TITLE_SIZE, NAME_SIZE, COUNT_SIZE = 20, 14, 12


def draw_contact_sheet(
    split: Split, class_names: tuple[str, ...], title: str, columns: int = 16
) -> Image.Image:
    """Return an RGB image with a row for each class: its name, its count, its first images.

    Images are inverted, so that garments are dark on a light background.

    Args:
        split: of square images.
        class_names: by label.
        title: first line of the sheet.
        columns: images per class at most.
    """
    labels = [f"{label}  {name}" for label, name in enumerate(class_names)]
    font = ImageFont.load_default(NAME_SIZE)
    label_width = max(MIN_LABEL_WIDTH, *(math.ceil(font.getlength(text)) + 10 for text in labels))
    side = split.images.shape[1] * max(1, MIN_SIDE // split.images.shape[1])
    width = MARGIN * 2 + label_width + columns * (side + GAP)
    height = MARGIN * 2 + TITLE_HEIGHT + len(class_names) * (side + GAP)
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, TEXT, ImageFont.load_default(TITLE_SIZE))
    for label, text in enumerate(labels):
        top = MARGIN + TITLE_HEIGHT + label * (side + GAP)
        indices = np.flatnonzero(split.labels == label)
        _draw_label(draw, top + side / 2, text, f"{len(indices):,}")
        for column, index in enumerate(indices[:columns]):
            left = MARGIN + label_width + column * (side + GAP)
            sheet.paste(enlarged(split.images[index], side), (left, top))
    return sheet


def enlarged(image: NDArray[np.uint8], side: int) -> Image.Image:
    """Return an image with `side` pixels, inverted if it is grayscale."""
    shown = Image.fromarray(255 - image if image.ndim == 2 else image)
    return shown.resize((side, side), Image.Resampling.NEAREST)


def _draw_label(draw: ImageDraw.ImageDraw, middle: float, name: str, count: str) -> None:
    """Write the name and count of a class on the left, vertically centered at `middle`."""
    draw.text((MARGIN, middle - 14), name, TEXT, ImageFont.load_default(NAME_SIZE))
    draw.text((MARGIN + 17, middle + 4), count, SECONDARY_TEXT, ImageFont.load_default(COUNT_SIZE))
