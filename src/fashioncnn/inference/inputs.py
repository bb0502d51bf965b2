"""From a source to the views of its image; many sources on all cores, in order."""

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
from fashioncnn.images.decoding import MAX_PIXELS, decoded_side, finish_image, read_image
from fashioncnn.images.limits import HOW_TO_REDUCE
from fashioncnn.images.views import compute_views, describe_photo
from fashioncnn.inference.sources import ImageSource

SINGLE_TASKS, TASK_SIZE = 64, 8
"""The first images are one task each, so that few large ones use all cores; later ones are
grouped."""
TASKS_AHEAD = 4
"""Tasks per worker that are submitted ahead of the consumer."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class LoadedImage:
    """The views of one source.

    Attributes:
        name: of the source.
        views: (views, size, size) uint8; None if the image could not be read.
        error: why it could not be read.
        found: whether the source exists.
        resized: whether the image had another size than the model input.
        several_garments: whether separate garments were found, of which the views show the largest.
    """

    name: str
    views: NDArray[np.uint8] | None
    error: str | None = None
    found: bool = True
    resized: bool = False
    several_garments: bool = False


def load_image(image: Image.Image, preprocessing: Preprocessing, name: str = "") -> LoadedImage:
    """Return the views of a decoded image.

    Args:
        image: of any mode.
        preprocessing: of the model.
        name: of the image.
    """
    size, mode, channels = preprocessing.image_size, preprocessing.views, preprocessing.channels
    resized = image.size != (size, size)
    if mode == "photo" and channels == 1:
        photo = describe_photo(image, size)
        return LoadedImage(
            name, photo.views, resized=resized, several_garments=photo.several_garments
        )
    return LoadedImage(name, compute_views(image, mode, size, channels), resized=resized)


def load_views(
    source: ImageSource,
    preprocessing: Preprocessing,
    max_pixels: int = MAX_PIXELS,
    remedy: str = HOW_TO_REDUCE,
) -> LoadedImage:
    """Return the views of a source, or why it could not be read.

    Args:
        source: a file, its content, a grey array, or an error.
        preprocessing: of the model. An array of its image size is used unchanged.
        max_pixels: limit on the pixels of a decoded image, see `read_image`.
        remedy: what a message about an image over the limit says to do.
    """
    content = source.content
    if isinstance(content, FashionCNNError):
        found = not isinstance(content, UsageError)
        return LoadedImage(source.name, None, str(content), found=found)
    size = preprocessing.image_size
    try:
        if isinstance(content, np.ndarray):
            if content.shape == preprocessing.input_shape:
                return LoadedImage(source.name, content[None])
            image = finish_image(Image.fromarray(content), decoded_side(size))
        else:
            image = read_image(
                BytesIO(content) if isinstance(content, bytes) else content,
                source.name,
                max_pixels=max_pixels,
                min_side=decoded_side(size),
                remedy=remedy,
            )
        return load_image(image, preprocessing, source.name)
    except ImageError as error:
        return LoadedImage(source.name, None, str(error))


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[Result, None, None]:
    """Yield ``function(item)`` for each item, in order, computed by threads a little ahead.

    Decoders release the GIL; processes were not faster (docs/LOG.md). Items are consumed lazily.
    """
    remaining = iter(items)
    pending: deque[Future[list[Result]]] = deque()
    pool = ThreadPoolExecutor(workers)
    submitted = 0
    try:
        while task := list(islice(remaining, 1 if submitted < SINGLE_TASKS else TASK_SIZE)):
            submitted += len(task)
            pending.append(pool.submit(lambda items: [function(item) for item in items], task))
            if len(pending) > TASKS_AHEAD * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
