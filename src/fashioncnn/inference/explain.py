"""Class activation maps drawn next to the model input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fashioncnn.inference.backend import Backend

MIN_SIDE = 224
"""Minimal side of a drawn view, in pixels."""
GAP = 8
CAPTION_HEIGHT = 24
BACKGROUND, TEXT = (24, 24, 24), (235, 235, 235)
COLORS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""From low to high: five equidistant colors of matplotlib's color map "inferno"."""
IMAGE_OPACITY = 0.35
"""Weight of the grey image under the heat map."""


def draw_explanation(
    backend: Backend, views: NDArray[np.uint8], label: int, caption: str
) -> Image.Image:
    """Return each view next to its class activation map.

    Args:
        backend: computes the maps.
        views: (views, size, size) or (views, size, size, 3) uint8.
        label: the class to explain.
        caption: one line below the views.
    """
    maps = normalized_maps(backend, views, label)
    if not maps.any():
        caption += "; the activation map is empty"
    side = _drawn_side(views)
    tiles = []
    for view, activation in zip(views, maps, strict=True):
        enlarged = _enlarge(view, side)
        tiles += [enlarged.convert("RGB"), _overlay(enlarged, activation)]
    width = len(tiles) * (side + GAP) + GAP
    sheet = Image.new("RGB", (width, side + 2 * GAP + CAPTION_HEIGHT), BACKGROUND)
    for position, tile in enumerate(tiles):
        sheet.paste(tile, (GAP + position * (side + GAP), GAP))
    ImageDraw.Draw(sheet).text((GAP, side + 2 * GAP), caption, fill=TEXT)
    return sheet


def caption_of(name: str, probability: float, *, abstained: bool) -> str:
    """Return the caption of an explanation: a class, its probability, and any abstention."""
    caption = f"{name} {100 * probability:.1f}%"
    return f"abstained ({caption})" if abstained else caption


def normalized_maps(backend: Backend, views: NDArray[np.uint8], label: int) -> NDArray[np.float32]:
    """Return the class activation maps of all views, divided by their common maximum.

    Args:
        backend: computes the maps.
        views: (views, size, size) or (views, size, size, 3) uint8.
        label: the class to explain.

    Returns:
        (views, rows, columns) float32 in [0, 1].
    """
    maps = backend.activation_maps(views, np.full(len(views), label, np.int64))
    highest = maps.max()
    return maps / highest if highest > 0 else maps


def draw_heat_maps(views: NDArray[np.uint8], maps: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
    """Return each map over its enlarged view, (side, side, 3) uint8; see `normalized_maps`."""
    side = _drawn_side(views)
    return [
        np.asarray(_overlay(_enlarge(view, side), activation))
        for view, activation in zip(views, maps, strict=True)
    ]


def side_by_side(views: NDArray[np.uint8]) -> Image.Image:
    """Return the views, (views, size, size[, 3]), next to each other, one pixel per pixel."""
    return Image.fromarray(np.concatenate(list(views), axis=1))


def _drawn_side(views: NDArray[np.uint8]) -> int:
    """Return the side of a drawn view: a whole multiple of that of the view."""
    size: int = views.shape[1]
    return MIN_SIDE // size * size or size


def _enlarge(view: NDArray[np.uint8], side: int) -> Image.Image:
    return Image.fromarray(view).resize((side, side), Image.Resampling.NEAREST)


def _overlay(image: Image.Image, activation: NDArray[np.float32]) -> Image.Image:
    """Return an image below the colors of `activation`, (rows, columns) in [0, 1]."""
    smooth = Image.fromarray(activation).resize(image.size, Image.Resampling.BILINEAR)
    levels = np.linspace(0, 1, len(COLORS))
    values = np.clip(np.asarray(smooth), 0, 1)
    colors = np.stack([np.interp(values, levels, c) for c in zip(*COLORS, strict=True)], axis=-1)
    pixels = np.asarray(image.convert("RGB"), np.float64)
    mixed = IMAGE_OPACITY * pixels + (1 - IMAGE_OPACITY) * colors
    return Image.fromarray(np.round(mixed).astype(np.uint8))
