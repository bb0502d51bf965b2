"""JPEGs decoded at a reduced size, so that photographs of any phone need little memory.

libjpeg computes an image at 1/2, 1/4 or 1/8 of its size from its lowest frequencies. Only the
reduced pixels are stored, unless the file is progressive or has one scan per channel: then all
coefficients are in memory, 2 bytes each.
"""

from __future__ import annotations

from typing import BinaryIO

from PIL.JpegImagePlugin import JpegImageFile

from fashioncnn.images.formats import START_OF_SCAN
from fashioncnn.images.limits import check_pixels

SCALES = 1, 2, 4, 8
"""Factors by which libjpeg can reduce an image."""
MAX_FACTOR, MAX_BUFFERED_FACTOR = 16, 4
"""A JPEG may have this many times the pixels of the limit, which holds for the decoded ones; the
second if it is progressive or has one scan per channel. The limit of 16 megapixels allows 256 and
64; phones write up to 200 and 50."""


def open_jpeg(file: BinaryIO) -> JpegImageFile:
    """Return the first image in a file, not decoded yet.

    In contrast to `PIL.Image.open`, images above `PIL.Image.MAX_IMAGE_PIXELS` are opened without a
    warning; call `draft_jpeg` before decoding.
    """
    return JpegImageFile(file, "")


def draft_jpeg(image: JpegImageFile, name: str, factor: int, max_pixels: int, remedy: str) -> bool:
    """Let an image decode at a reduced size, and return whether it still needs much memory.

    Args:
        image: just opened.
        name: used in messages.
        factor: by which it may be reduced at most, unless `max_pixels` requires more.
        max_pixels: limit on width × height after reduction.
        remedy: what to do about an image that is too large.

    Returns:
        Whether more than `max_pixels` pixels are kept as coefficients.

    Raises:
        ImageError: the image is over a limit.
    """
    width, height = image.size
    is_buffered = _is_buffered(image)
    times = MAX_BUFFERED_FACTOR if is_buffered else MAX_FACTOR
    check_pixels(name, width, height, times * max_pixels, remedy)
    fitting = (s for s in SCALES if -(-width // s) * -(-height // s) <= max_pixels)
    factor = max(factor, next(fitting, SCALES[-1]))
    image.draft(None, (max(1, width // factor), max(1, height // factor)))
    check_pixels(name, *image.size, max_pixels, remedy)
    return is_buffered and width * height > max_pixels


def _is_buffered(image: JpegImageFile) -> bool:
    """Return whether libjpeg keeps all coefficients of a just opened image in memory."""
    if "progressive" in image.info:
        return True
    file, channels = image.fp, image.layers
    assert file is not None  # noqa: S101, open_jpeg has set it
    # The file's position is after the header of the first scan (ITU-T T.81, B.2.3).
    header = START_OF_SCAN + bytes([0, 6 + 2 * channels, channels])
    file.seek(file.tell() - 2 - header[3])
    return file.read(len(header)) != header
