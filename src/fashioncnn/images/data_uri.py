"""Images that are part of an HTML page."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def data_uri(image: NDArray[np.uint8]) -> str:
    """Return an image as PNG in a data URI.

    Args:
        image: (height, width) or (height, width, 3) uint8.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return png_uri(buffer.getvalue())


def png_uri(content: bytes) -> str:
    """Return the content of a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(content).decode()
