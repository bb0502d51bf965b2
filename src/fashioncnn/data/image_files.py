"""Read many image files of a user's dataset at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.dataset import Split
from fashioncnn.data.options import LoadOptions
from fashioncnn.data.pixels import DEFAULT_IMAGE_SIZE
from fashioncnn.environment import available_cores
from fashioncnn.errors import ImageError
from fashioncnn.images.decoding import decoded_side, read_image
from fashioncnn.images.unreadable import UnreadableImagesError
from fashioncnn.images.views import check_color_views, compute_views

MAX_PIXELS = 64_000_000
"""Limit per decoded image: higher than for prediction, since a user's own photographs are trusted
more. JPEGs are decoded at a reduced size."""


def read_images(
    paths: Sequence[Path], options: LoadOptions
) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Return the views of files, and which files these are.

    Each thread holds one decoded image at a time; only the resized ones are kept.

    Args:
        paths: of n files.
        options: `LoadOptions.skip_broken` decides whether an unreadable file is an error;
            `image_size`, `views` and `channels` apply.

    Returns:
        For each of m files (views, size, size) uint8, or (views, size, size, 3) in color; and (m,)
        int64 positions in `paths`, ascending; without skipped files
        m is n.

    Raises:
        UnreadableImagesError: files cannot be read; it lists all of them.
    """
    if options.channels == 3:
        check_color_views(options.views)
    with ThreadPoolExecutor(available_cores()) as pool:
        try:
            read = pool.map(lambda path: _read_or_error(path, options), paths)
            results = list(options.track(read, len(paths)))
        except BaseException:  # such as KeyboardInterrupt
            pool.shutdown(cancel_futures=True)
            raise
    return readable(results, options)


def readable(
    results: Sequence[NDArray[np.uint8] | ImageError], options: LoadOptions
) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Return the views of the images that can be read, and which these are.

    Args:
        results: the views of each image, or why it cannot be read.
        options: `LoadOptions.skip_broken` decides whether that is an error.

    Raises:
        UnreadableImagesError: images cannot be read; it lists all of them.
    """
    errors = [result for result in results if isinstance(result, ImageError)]
    if errors:
        error = UnreadableImagesError(errors)
        if not options.skip_broken:
            raise error
        for message in error.listed:
            options.notify(f"skipped {message}")
    kept = [i for i, result in enumerate(results) if not isinstance(result, ImageError)]
    views = [result for result in results if not isinstance(result, ImageError)]
    return views, np.array(kept, np.int64)


def split_of_views(
    views: list[NDArray[np.uint8]],
    labels: NDArray[np.uint8],
    names: Sequence[str] | None = None,
) -> Split:
    """Return the split of at least one image, given as its views.

    Args:
        views: of each image, (views, size, size[, 3]) uint8.
        labels: (n,).
        names: of the images; None for none.
    """
    images = np.stack([of_image[0] for of_image in views])
    single = all(len(of_image) == 1 for of_image in views)
    return Split(
        images,
        labels,
        views=None if single else tuple(views),
        names=None if names is None else tuple(names),
    )


def _read_or_error(path: Path, options: LoadOptions) -> NDArray[np.uint8] | ImageError:
    size = options.image_size or DEFAULT_IMAGE_SIZE
    try:
        image = read_image(path, max_pixels=MAX_PIXELS, min_side=decoded_side(size))
        return compute_views(image, options.views, size, options.channels)
    except ImageError as error:
        return error
