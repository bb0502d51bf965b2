"""A contact sheet: some images of every class, as one PNG."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fashioncnn.data.dataset import Split

PAPER, INK, QUIET = "#ffffff", "#1b1b1f", "#6b6b73"
ZOOM, GAP, MARGIN, LABEL_WIDTH, TITLE_HEIGHT = 2, 4, 20, 120, 44


def draw_contact_sheet(
    split: Split, class_names: tuple[str, ...], title: str, columns: int = 16
) -> Image.Image:
    """Return a sheet with a row for each class: its name, its count, its first images.

    Images are shown with a light background and dark garments, as cloth lies on paper.
    """
    side = split.images.shape[1] * ZOOM
    width = MARGIN * 2 + LABEL_WIDTH + columns * (side + GAP)
    height = MARGIN * 2 + TITLE_HEIGHT + len(class_names) * (side + GAP)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, INK, ImageFont.load_default(20))
    for label, name in enumerate(class_names):
        top = MARGIN + TITLE_HEIGHT + label * (side + GAP)
        indices = np.flatnonzero(split.labels == label)
        draw.text(
            (MARGIN, top + side / 2 - 14), f"{label}  {name}", INK, ImageFont.load_default(14)
        )
        draw.text(
            (MARGIN + 17, top + side / 2 + 4),
            f"{len(indices):,}",
            QUIET,
            ImageFont.load_default(12),
        )
        for column, index in enumerate(indices[:columns]):
            image = Image.fromarray(255 - split.images[index]).resize(
                (side, side), Image.Resampling.NEAREST
            )
            sheet.paste(image, (MARGIN + LABEL_WIDTH + column * (side + GAP), top))
    return sheet
