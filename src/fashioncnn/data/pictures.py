"""From picture files to grey uint8 arrays of one size.

Two ways: `plain` for a person's own class folders (grey, padded to a square, resized), and
`fashion` for networks that learnt Fashion-MNIST, which follows that data set's own conversion
(arXiv:1708.07747, figure 1): trim the border colour, longest edge to the size, centre, garment
light on black.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fashioncnn.errors import PictureError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
MAX_PIXELS = 16_000_000
TRIM_TOLERANCE = 24
"""Grey levels by which a pixel may differ from the border and still be background."""

Grey = NDArray[np.uint8]


def read_picture(file: Path | BytesIO, name: str | None = None) -> Image.Image:
    """Return a decoded picture, upright, its first frame where it is animated.

    Args:
        file: a JPEG, PNG, WEBP, GIF or BMP, judged by content, not by suffix.
        name: what messages call it; the path by default.

    Raises:
        PictureError: missing, damaged, of another format, or of more than 16 megapixels (checked
            before decoding).
    """
    name = name or str(file)
    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise PictureError(
                    f"{name}: {width}×{height} pixels, over the limit of 16 megapixels"
                )
            image.load()
            return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise PictureError(f"{name}: no such file") from None
    except UnidentifiedImageError:
        raise PictureError(f"{name}: not a JPEG, PNG, WEBP, GIF or BMP picture") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"{name}: over the limit of 16 megapixels") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        raise PictureError(f"{name}: damaged picture ({error})") from None


def to_grey(image: Image.Image) -> Grey:
    """Return a picture's luma, (height, width) uint8; what is transparent becomes white."""
    if 0 in image.size:
        raise PictureError(f"a picture of {image.width}×{image.height} pixels has nothing to see")
    if image.mode.startswith("I;16") or image.mode == "I":
        wide = np.asarray(image).astype(np.float64)
        return np.clip(wide / 257 + 0.5, 0, 255).astype(np.uint8)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def plain_picture(image: Image.Image, size: int) -> Grey:
    """Return (size, size) uint8: grey, padded with its border's grey, resized."""
    grey = to_grey(image)
    return _fit_square(grey, size, fill=_border_level(grey))


def fashion_picture(image: Image.Image, size: int) -> Grey:
    """Return (size, size) uint8 as Fashion-MNIST's pictures are: garment light on black.

    A grey picture that already has the size is taken as it is. Any other is inverted where its
    border is light, its border colour is trimmed, and the rest is fitted in and centred.
    """
    grey = to_grey(image)
    if image.mode == "L" and grey.shape == (size, size):
        return grey
    border = _border_level(grey)
    if border > 127:
        grey, border = 255 - grey, 255 - border
    rows, columns = np.nonzero(np.abs(grey.astype(int) - border) > TRIM_TOLERANCE)
    if len(rows):
        grey = grey[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    # The background becomes black, and what is lighter keeps its distance from it.
    lifted = np.clip((grey.astype(int) - border) * 255 // max(255 - border, 1), 0, 255)
    return _fit_square(lifted.astype(np.uint8), size, fill=0)


CONVERSIONS = {"fashion": fashion_picture, "plain": plain_picture}
"""Conversions by the name that a model's preprocessing keeps."""


def _border_level(grey: Grey) -> int:
    edges = (grey[0], grey[-1], grey[:, 0], grey[:, -1])
    return int(np.median(np.concatenate(edges)))


def _fit_square(grey: Grey, size: int, fill: int) -> Grey:
    """Bring the longest edge to `size`, keep the proportions, centre on `fill`."""
    height, width = grey.shape
    scale = size / max(height, width)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray(grey).resize(fitted, Image.Resampling.LANCZOS)
    canvas = Image.new("L", (size, size), fill)
    canvas.paste(small, ((size - fitted[0]) // 2, (size - fitted[1]) // 2))
    return np.asarray(canvas)
