"""Decode untrusted image files to upright Pillow images in mode `L`, `RGB` or `RGBA`.

The format is identified by the file's first bytes, and only the decoder of that format runs, within
the limits of `fashioncnn.images.limits`. Color profiles are ignored.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from PIL import Image, UnidentifiedImageError

from fashioncnn.errors import ImageError
from fashioncnn.images.color import normalize_mode
from fashioncnn.images.exif import TRANSPOSITIONS, read_orientation
from fashioncnn.images.limits import (
    HOW_TO_REDUCE,
    MeteredFile,
    check_header,
    check_pixels,
)
from fashioncnn.reading import open_regular

MAX_PIXELS = 16_000_000
"""Default limit on width × height."""
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
"""Exceptions that Pillow raises on malformed files, collected by changing bytes at random."""


def read_image(
    file: Path | BytesIO,
    name: str | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    min_side: int | None = None,
) -> Image.Image:
    """Return a decoded image, upright, as `L`, `RGB` or `RGBA`; the first frame if animated.

    Args:
        file: a JPEG, PNG, WEBP, GIF or BMP.
        name: used in messages; by default the path.
        max_pixels: limit on width × height, checked against the file's header.
        min_side: allows the image to be reduced by an integer factor, as long as its longer side
            keeps at least this many pixels. A reduced JPEG decodes several times faster.

    Raises:
        ImageError: missing, not a regular file, damaged, of another format, or over a limit.
    """
    name = name or str(file)
    try:
        with open_regular(file) if isinstance(file, Path) else file as content:
            image_format, metered = check_header(content, name, max_pixels)
            return _decode(metered, image_format, name, max_pixels, min_side)
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: damaged image (malformed header)") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(
            f"{name}: over the limit of {max_pixels / 1e6:g} megapixels; {HOW_TO_REDUCE}"
        ) from None
    except MemoryError:
        raise ImageError(f"{name}: not enough memory to decode it; resize the image") from None
    except DECODER_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(f"{name}: cannot be read ({error.strerror})") from None
        raise ImageError(f"{name}: damaged image ({error})") from None


def _decode(
    file: MeteredFile, image_format: str, name: str, max_pixels: int, min_side: int | None
) -> Image.Image:
    with Image.open(cast(BinaryIO, file), formats=(image_format,)) as image:
        file.end_metadata()
        width, height = image.size
        check_pixels(name, width, height, max_pixels)  # a GIF's frame may exceed its header
        factor = _reduction(image.size, min_side)
        if image_format == "JPEG":
            image.draft(None, (max(1, width // factor), max(1, height // factor)))
        image.load()
        transposition = TRANSPOSITIONS.get(read_orientation(image.info.get("exif", b"")))
        decoded = normalize_mode(image)
    factor = _reduction(decoded.size, min_side)
    if factor > 1:
        decoded = decoded.reduce(factor)
    return decoded if transposition is None else decoded.transpose(transposition)


def _reduction(size: tuple[int, int], min_side: int | None) -> int:
    """Return the largest integer factor that keeps the longer side at `min_side` or more."""
    return max(1, max(size) // min_side) if min_side else 1
