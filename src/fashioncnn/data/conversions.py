"""From a decoded picture to what a network is shown of it, by the name its preprocessing keeps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.data.garment import cut_out
from fashioncnn.data.pictures import fashion_picture, plain_picture, whole_picture

Views = NDArray[np.uint8]
"""(views, size, size)."""

CONVERSIONS: dict[str, Callable[[Image.Image, int], Views]] = {
    "fashion": lambda image, size: fashion_picture(image, size)[None],
    "plain": lambda image, size: plain_picture(image, size)[None],
    "cutout": cut_out,
    "pad": lambda image, size: whole_picture(image, size, "pad")[None],
    "stretch": lambda image, size: whole_picture(image, size, "stretch")[None],
    "crop": lambda image, size: whole_picture(image, size, "crop")[None],
}
"""Functions of an image and a side in pixels."""
