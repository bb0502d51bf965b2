"""Decode untrusted image files to upright Pillow images in mode `L`, `RGB` or `RGBA`.

The format is identified by the file's first bytes, and only the decoder of that format runs, within
the limits of `fashioncnn.images.limits`. Color profiles are ignored.
"""

from __future__ import annotations

import struct
import threading
import zlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, cast

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from fashioncnn.errors import ImageError
from fashioncnn.images.color import normalize_mode
from fashioncnn.images.exif import TRANSPOSITIONS, orientation_of
from fashioncnn.images.heif import open_heif
from fashioncnn.images.jpeg import draft_jpeg, open_jpeg
from fashioncnn.images.limits import (
    HOW_TO_REDUCE,
    MAX_SLOW_PIXELS,
    MeteredFile,
    check_header,
    check_pixels,
)
from fashioncnn.images.pixels import PixelValueError
from fashioncnn.reading import missing, open_regular

MAX_PIXELS = 16_000_000
"""Default limit on the width × height of a decoded image."""
HEIF_FACTOR = 4
"""A HEIF image may have this many times the pixels of the limit: phones write 24 and 48 megapixels.
It is decoded whole, as YCbCr and RGB, and then reduced."""
SLOW_PPM = "save it with the levels 0 to 255 in binary form, or as PNG"
MIN_DECODED_SIDE = 500
"""Pixels on the longer side to which a photograph is decoded at least.

Views of photographs of 2,100 pixels decoded to this size differ by 0.1 to 0.2 gray levels from
those of the full image (median of 29), in a fifth of the time (docs/LOG.md). Phones write 4,000 and
4,032 pixels, an eighth of which is just above.
"""
OVERSAMPLING = 7
"""Times the pixels of the model input that the longer side keeps at least."""
_LARGE_IMAGE = threading.Lock()
DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
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
"""Exceptions that Pillow and pillow-heif raise on malformed files, collected by changing bytes at
random."""

METADATA_ERRORS = ("Decompressed data too large", "Too much memory used in text chunks")
"""Starts of Pillow's messages about an intact PNG with a text or color profile of more than 1 MiB,
or texts of more than 64 MiB, uncompressed (``MAX_TEXT_CHUNK`` and ``MAX_TEXT_MEMORY`` of its module
``PngImagePlugin``)."""


def read_image(
    file: Path | BinaryIO,
    name: str | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    min_side: int | None = None,
    remedy: str = HOW_TO_REDUCE,
) -> Image.Image:
    """Return a decoded image, upright, as `L`, `RGB` or `RGBA`; the first frame of several.

    Args:
        file: of one of `fashioncnn.images.formats.FORMATS`; seekable.
        name: used in messages; by default the path.
        max_pixels: limit on width × height as decoded, checked against the file's header. A JPEG
            with up to 16 times as many pixels is decoded at a reduced size, of a HEIC
            `HEIF_FACTOR` times as many are decoded.
        min_side: allows the image to be reduced by an integer factor, as long as its longer side
            keeps at least this many pixels. A reduced JPEG decodes several times faster.
        remedy: what a message about an image over the limit says to do.

    Raises:
        ImageError: missing, not a regular file, damaged, of another format, or over a limit.
    """
    name = name or str(file)
    try:
        with open_regular(file) if isinstance(file, Path) else nullcontext(file) as content:
            image_format, metered = check_header(content, name, max_pixels, remedy)
            load = _load_heif if image_format == "HEIF" else _load
            with load(metered, image_format, name, max_pixels, min_side, remedy) as image:
                return finish_image(image, min_side)
    except PixelValueError as error:
        raise ImageError(f"{name}: {error}") from None
    except FileNotFoundError:
        raise ImageError(missing(name)) from None
    except UnidentifiedImageError:
        raise ImageError(f"{name}: damaged image (malformed header)") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(
            f"{name}: over the limit of {max_pixels / 1e6:g} megapixels; {remedy}"
        ) from None
    except MemoryError:
        raise ImageError(f"{name}: not enough memory to decode it; resize the image") from None
    except DECODER_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(f"{name}: cannot be read ({error.strerror})") from None
        if str(error).startswith(METADATA_ERRORS):
            raise ImageError(
                f"{name}: too much compressed text, or too large a color profile; save it again "
                "without metadata"
            ) from None
        raise ImageError(f"{name}: damaged image ({error})") from None


def finish_image(image: Image.Image, min_side: int | None = None) -> Image.Image:
    """Return a decoded image upright, as `L`, `RGB` or `RGBA`, and reduced.

    The image of a user of Pillow has the same pixels after this as its file has, unless it is a
    JPEG that is decoded at a reduced size.

    Args:
        image: of any mode, with the metadata of its file in `info`.
        min_side: see `read_image`.

    Raises:
        PixelValueError: see `normalize_mode`.
    """
    image.load()  # metadata may follow the pixels
    transposition = TRANSPOSITIONS.get(orientation_of(image))
    finished = normalize_mode(image)
    factor = _reduction(finished.size, min_side)
    if factor > 1:
        finished = finished.reduce(factor)
    return finished if transposition is None else finished.transpose(transposition)


def decoded_side(image_size: int) -> int:
    """Return `min_side` of `read_image` for views of `image_size` pixels."""
    return max(MIN_DECODED_SIDE, OVERSAMPLING * image_size)


def _load(
    file: MeteredFile,
    image_format: str,
    name: str,
    max_pixels: int,
    min_side: int | None,
    remedy: str,
) -> Image.Image:
    content = cast(BinaryIO, file)
    image: ImageFile
    is_large = False
    if image_format == "JPEG":
        image = jpeg = open_jpeg(content)
        file.end_metadata()
        is_large = draft_jpeg(jpeg, name, _reduction(jpeg.size, min_side), max_pixels, remedy)
    else:
        image = Image.open(content, formats=(image_format,))
        file.end_metadata()
        check_pixels(name, *image.size, max_pixels, remedy)  # a GIF's frame may exceed its header
        if image_format == "PPM" and image.tile[0][0] != "raw":
            check_pixels(name, *image.size, min(max_pixels, MAX_SLOW_PIXELS), SLOW_PPM)
    with _one_at_a_time(is_large):
        image.load()
    return image


def _load_heif(
    file: MeteredFile, _format: str, name: str, max_pixels: int, _side: int | None, remedy: str
) -> Image.Image:
    heif = open_heif(file.read(), name)
    width, height = heif.size
    check_pixels(name, width, height, HEIF_FACTOR * max_pixels, remedy)
    with _one_at_a_time(width * height > max_pixels):
        return heif.to_pillow()


def _one_at_a_time(is_large: bool) -> AbstractContextManager[object]:
    """Return a lock for images that need hundreds of megabytes, which threads would multiply."""
    return _LARGE_IMAGE if is_large else nullcontext()


def _reduction(size: tuple[int, int], min_side: int | None) -> int:
    """Return the largest integer factor that keeps the longer side at `min_side` or more."""
    return max(1, max(size) // min_side) if min_side else 1
