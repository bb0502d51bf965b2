"""From an image to what a network sees of it; many of them on all cores, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.errors import FashionCNNError, ImageError, UsageError
from fashioncnn.images.decoding import read_image
from fashioncnn.images.views import VIEW_FUNCTIONS
from fashioncnn.inference.sources import ImageSource

ENOUGH = 512
"""Pixels on a photograph's longer side that it is decoded to at least, if it has them.

Of photographs of 2,100 pixels that were decoded so, a network of 28×28 saw what differs by 0.1 to
0.2 grey levels from what it sees of the whole (median of 29), in a fifth of the time (docs/LOG.md).
"""
FEW = 64
GROUP = 8
AHEAD = 4

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class LoadedImage:
    """What a network sees of an image.

    Attributes:
        name: of the image.
        views: (views, size, size) uint8; None where it cannot be read.
        error: why not.
        found: whether its source named anything.
        resized: whether it had another size than the network's.
    """

    name: str
    views: NDArray[np.uint8] | None
    error: str | None = None
    found: bool = True
    resized: bool = False


def compute_views(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return what a network sees of a decoded image, (views, size, size) uint8.

    Args:
        image: as `read_image` returns it, or of any mode.
        preprocessing: the network's own.
    """
    return VIEW_FUNCTIONS[preprocessing.views](image, preprocessing.image_size)


def required_pixels(preprocessing: Preprocessing) -> int:
    """Return how many pixels on the longer side of an image such a network can make use of."""
    return max(ENOUGH, 8 * preprocessing.image_size)


def load_views(source: ImageSource, preprocessing: Preprocessing, max_pixels: int) -> LoadedImage:
    """Decode one source as far as the network needs it."""
    content = source.content
    if isinstance(content, FashionCNNError):
        return LoadedImage(
            source.name, None, str(content), found=not isinstance(content, UsageError)
        )
    size = preprocessing.image_size
    try:
        if isinstance(content, np.ndarray):
            if content.shape == (size, size):
                return LoadedImage(source.name, content[None])
            image = Image.fromarray(content)
        else:
            file = BytesIO(content) if isinstance(content, bytes) else content
            enough = required_pixels(preprocessing)
            image = read_image(file, source.name, max_pixels=max_pixels, min_side=enough)
        resized = image.size != (size, size)
        return LoadedImage(source.name, compute_views(image, preprocessing), resized=resized)
    except ImageError as error:
        return LoadedImage(source.name, None, str(error))


def map_in_order(
    function: Callable[[Given], Made], items: Iterable[Given], workers: int
) -> Generator[Made, None, None]:
    """Yield ``function(item)`` for each item, in order, made by so many threads a little ahead.

    Threads, for decoders let others run meanwhile, and a process of its own for each core was no
    faster (measured, docs/LOG.md). Of `items` no more is taken than can be worked on soon.
    """
    remaining = iter(items)
    waiting: deque[Future[list[Made]]] = deque()
    pool = ThreadPoolExecutor(workers)
    taken = 0
    try:
        # The first go one by one, so that a few large ones keep every core busy.
        while group := list(islice(remaining, 1 if taken < FEW else GROUP)):
            taken += len(group)
            waiting.append(pool.submit(lambda part: [function(item) for item in part], group))
            if len(waiting) > AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
