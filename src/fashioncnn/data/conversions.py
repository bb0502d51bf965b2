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


WHOLE = "stretch", "crop", "pad"
"""Ways of the whole picture that photographs are seen in, besides cut out."""


def photo_views(image: Image.Image, size: int) -> Views:
    """Return the garment cut out (see `cut_out`), and the whole picture in each way of `WHOLE`.

    What is wrong with one is often right with another. A grey picture that already has the size
    is one view, taken as it is.
    """
    cut = cut_out(image, size)
    if len(cut) == 1 and image.size == (size, size):
        return cut
    whole = [whole_picture(image, size, fit) for fit in WHOLE]
    return np.concatenate([cut, np.stack(whole)])


CONVERSIONS: dict[str, Callable[[Image.Image, int], Views]] = {
    "fashion": lambda image, size: fashion_picture(image, size)[None],
    "plain": lambda image, size: plain_picture(image, size)[None],
    "photo": photo_views,
    "cutout": cut_out,
    "pad": lambda image, size: whole_picture(image, size, "pad")[None],
    "stretch": lambda image, size: whole_picture(image, size, "stretch")[None],
    "crop": lambda image, size: whole_picture(image, size, "crop")[None],
}
"""Functions of an image and a side in pixels."""
