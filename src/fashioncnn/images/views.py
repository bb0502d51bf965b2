"""Views: the model input computed from a decoded image.

Fashion-MNIST's own conversion (arXiv:1708.07747, figure 1) trims the border color, resizes the
longest edge, centers the garment, and inverts the image: garment light on black. `fashion_view`
and `cut_out` follow it, `plain_view` only pads and resizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.errors import UsageError
from fashioncnn.images.bars import crop_bars
from fashioncnn.images.color import (
    Gray,
    is_grayscale,
    to_grayscale,
    to_rgb,
    without_slight_transparency,
)
from fashioncnn.images.garments import Box, box_of_largest
from fashioncnn.images.mixture import Floats
from fashioncnn.images.segmentation import (
    REDUCING_GAP,
    THRESHOLD,
    apply_masks,
    cut_out,
    find_masks,
)

ViewMode = Literal["fashion", "plain", "photo", "cutout", "pad", "stretch", "crop"]
"""Names of the conversions in `VIEW_FUNCTIONS`."""
Fit = Literal["pad", "stretch", "crop"]
Views = NDArray[np.uint8]
"""(views, size, size)."""

TRIM_TOLERANCE = 24
"""Gray levels by which a pixel may differ from the border and still count as background."""
PHOTO_FITS: tuple[Fit, ...] = "stretch", "crop", "pad"
"""Views of the whole photograph in `photo_views`, after the views that are cut out."""


@dataclass(frozen=True)
class PhotoViews:
    """The views of a photograph.

    Attributes:
        views: (views, size, size) uint8.
        several_garments: whether the photograph shows several, of which the views show the largest.
    """

    views: Views
    several_garments: bool = False


def plain_view(image: Image.Image, size: int) -> Gray:
    """Return (size, size) uint8: grayscale, padded to a square with the border's gray, resized."""
    gray = to_grayscale(image)
    return _pad_to_square(gray, size, fill=_border_level(gray))


def plain_color_view(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return (size, size, 3) uint8: `plain_view` of each channel of the image on white."""
    rgb = to_rgb(image)
    channels = [plain_view(Image.fromarray(rgb[..., i]), size) for i in range(rgb.shape[2])]
    return np.stack(channels, axis=-1)


def fashion_view(image: Image.Image, size: int) -> Gray:
    """Return (size, size) uint8 in the style of Fashion-MNIST: garment light on black.

    A grayscale image of this size is returned unchanged, also if it was saved in color. Any other
    is inverted if its border is light, trimmed of its border color, resized and centered.
    """
    gray = to_grayscale(image)
    if gray.shape == (size, size) and is_grayscale(image):
        return gray
    gray, border = _invert_light_background(gray)
    rows, columns = np.nonzero(np.abs(gray.astype(int) - border) > TRIM_TOLERANCE)
    if len(rows):
        gray = gray[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    # Stretch the levels from [border, 255] to [0, 255], so that the background becomes black.
    stretched = np.clip((gray.astype(int) - border) * 255 // max(255 - border, 1), 0, 255)
    return _pad_to_square(stretched.astype(np.uint8), size, fill=0)


def whole_view(image: Image.Image, size: int, fit: Fit) -> Gray:
    """Return (size, size) uint8 of the whole image: grayscale, inverted if its border is light.

    Args:
        image: of any mode.
        size: side in pixels.
        fit: ``pad`` keeps the aspect ratio and pads with the border's gray, ``stretch`` ignores
            the aspect ratio, ``crop`` keeps only the central square.
    """
    return _whole_view(*_invert_light_background(to_grayscale(image)), size, fit)


def _whole_view(gray: Gray, border: int, size: int, fit: Fit) -> Gray:
    if fit == "pad":
        return _pad_to_square(gray, size, fill=border, reducing_gap=REDUCING_GAP)
    if fit == "crop":
        height, width = gray.shape
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        gray = gray[top : top + side, left : left + side]
    resized = Image.fromarray(gray).resize(
        (size, size), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP
    )
    return np.asarray(resized)


def photo_views(image: Image.Image, size: int) -> Views:
    """Return the views of `describe_photo`."""
    return describe_photo(image, size).views


def describe_photo(image: Image.Image, size: int) -> PhotoViews:
    """Return the garment cut out, then the whole image in each way of `PHOTO_FITS`.

    Segmentation fails on some photographs and cluttered backgrounds mislead on others, so that the
    average over both kinds of views is more accurate than either. The bars of a screenshot are
    removed. Of several garments, the largest is cut out, and its surroundings are the whole image.
    An image of this size that is grayscale or has transparency has only one view.

    Args:
        image: of any mode.
        size: side in pixels.
    """
    if image.size == (size, size) and is_grayscale(image):
        return PhotoViews(to_grayscale(image)[None])
    image = without_slight_transparency(image)
    if image.mode != "RGBA":
        image = crop_bars(image)
    gray = to_grayscale(image)
    masks = find_masks(image)
    box = box_of_largest(masks[0] > THRESHOLD)
    if box is not None:
        gray, masks = _crop(gray, masks, box)
    garment = apply_masks(gray, masks, size)
    if len(garment) == 1 and image.size == (size, size):
        return PhotoViews(garment, box is not None)
    gray, border = _invert_light_background(gray)
    whole = [_whole_view(gray, border, size, fit) for fit in PHOTO_FITS]
    return PhotoViews(np.concatenate([garment, np.stack(whole)]), box is not None)


def view_names(mode: ViewMode, count: int) -> list[str]:
    """Return how each of `count` views of this mode was computed, such as ``cutout``."""
    if mode != "photo":
        return [mode] * count
    whole: list[str] = list(PHOTO_FITS) if count > len(PHOTO_FITS) else []
    return ["cutout"] * (count - len(whole)) + whole


def compute_views(image: Image.Image, mode: ViewMode, size: int, channels: int = 1) -> Views:
    """Return the views of an image, (views, size, size) uint8, or (views, size, size, 3) in color.

    Args:
        image: of any mode.
        mode: the conversion.
        size: side in pixels.
        channels: 1 for grayscale, 3 for color.

    Raises:
        UsageError: there are no views of this mode in color.
    """
    if channels == 1:
        return VIEW_FUNCTIONS[mode](image, size)
    check_color_views(mode)
    return COLOR_VIEW_FUNCTIONS[mode](image, size)


def check_color_views(mode: ViewMode) -> None:
    """Raise `UsageError` if there are no views of this mode in color."""
    if mode not in COLOR_VIEW_FUNCTIONS:
        raise UsageError(
            f"data.views = '{mode}': grayscale only; with data.channels = 3 it should be one of "
            f"{', '.join(COLOR_VIEW_FUNCTIONS)}"
        )


VIEW_FUNCTIONS: dict[str, Callable[[Image.Image, int], Views]] = {
    "fashion": lambda image, size: fashion_view(image, size)[None],
    "plain": lambda image, size: plain_view(image, size)[None],
    "photo": photo_views,
    "cutout": cut_out,
    "pad": lambda image, size: whole_view(image, size, "pad")[None],
    "stretch": lambda image, size: whole_view(image, size, "stretch")[None],
    "crop": lambda image, size: whole_view(image, size, "crop")[None],
}
"""By `ViewMode`: functions of an image of any mode and a side in pixels."""
COLOR_VIEW_FUNCTIONS: dict[str, Callable[[Image.Image, int], Views]] = {
    "plain": lambda image, size: plain_color_view(image, size)[None],
}
"""Likewise, in color: (views, size, size, 3)."""


def _crop(gray: Gray, masks: Floats, box: Box) -> tuple[Gray, Floats]:
    """Return an image and its masks cropped to a box, given in pixels of the masks."""
    top, left, bottom, right = box
    down, across = gray.shape[0] / masks.shape[1], gray.shape[1] / masks.shape[2]
    rows = slice(round(top * down), round(bottom * down))
    columns = slice(round(left * across), round(right * across))
    return gray[rows, columns], masks[:, top:bottom, left:right]


def _border_level(gray: Gray) -> int:
    """Return the median gray level of the outermost pixels."""
    edges = (gray[0], gray[-1], gray[:, 0], gray[:, -1])
    return int(np.median(np.concatenate(edges)))


def _invert_light_background(gray: Gray) -> tuple[Gray, int]:
    """Return the image, inverted if its border is light, and the level of its border."""
    border = _border_level(gray)
    return (255 - gray, 255 - border) if border > 127 else (gray, border)


def _pad_to_square(gray: Gray, size: int, fill: int, reducing_gap: float | None = None) -> Gray:
    """Resize the longest edge to `size`, keep the aspect ratio, center on a `fill` background."""
    height, width = gray.shape
    scale = size / max(height, width)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = Image.fromarray(gray).resize(
        fitted, Image.Resampling.LANCZOS, reducing_gap=reducing_gap
    )
    canvas = Image.new("L", (size, size), fill)
    canvas.paste(resized, ((size - fitted[0]) // 2, (size - fitted[1]) // 2))
    return np.asarray(canvas)
