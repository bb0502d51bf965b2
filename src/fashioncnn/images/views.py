"""From a decoded image to what a network is shown of it, by the name its preprocessing keeps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.images.decoding import fashion_view, plain_view, whole_view
from fashioncnn.images.segmentation import cut_out

Views = NDArray[np.uint8]
"""(views, size, size)."""


WHOLE = "stretch", "crop", "pad"
"""Ways of the whole image that photographs are seen in, besides cut out."""


def photo_views(image: Image.Image, size: int) -> Views:
    """Return the garment cut out (see `cut_out`), and the whole image in each way of `WHOLE`.

    What is wrong with one is often right with another. A grey image that already has the size
    is one view, taken as it is.
    """
    cut = cut_out(image, size)
    if len(cut) == 1 and image.size == (size, size):
        return cut
    whole = [whole_view(image, size, fit) for fit in WHOLE]
    return np.concatenate([cut, np.stack(whole)])


VIEW_FUNCTIONS: dict[str, Callable[[Image.Image, int], Views]] = {
    "fashion": lambda image, size: fashion_view(image, size)[None],
    "plain": lambda image, size: plain_view(image, size)[None],
    "photo": photo_views,
    "cutout": cut_out,
    "pad": lambda image, size: whole_view(image, size, "pad")[None],
    "stretch": lambda image, size: whole_view(image, size, "stretch")[None],
    "crop": lambda image, size: whole_view(image, size, "crop")[None],
}
"""Functions of an image and a side in pixels."""
