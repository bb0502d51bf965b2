"""Images of any size, drawn without data, on which two implementations of a network are compared.

Half of them are sketches, a quarter smooth noise and a quarter noise of independent pixels, so that
both usual and extreme features occur.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.data.sketches import draw_split

SEED = 2
"""Differs from the seeds of the dataset ``sketches``."""
BATCH_BYTES = 16 << 20
MAX_BATCH = 100
CELLS = 7
"""Independent values per side of smooth noise."""


def generate_images(shape: tuple[int, ...], n: int) -> Iterator[NDArray[np.uint8]]:
    """Yield `n` images in batches, (batch, size, size[, 3]) uint8, always the same.

    Args:
        shape: of an image, (size, size) or (size, size, 3).
        n: number of images.
    """
    rng = np.random.default_rng(SEED)
    batch_size = min(MAX_BATCH, max(1, BATCH_BYTES // int(np.prod(shape))))
    for start in range(0, n, batch_size):
        batch = [_draw(shape, number % 4, rng) for number in range(start, n)[:batch_size]]
        yield np.stack(batch)


def _draw(shape: tuple[int, ...], kind: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return an image: a sketch for kinds 0 and 1, smooth noise for 2, independent pixels for 3."""
    size, channels = shape[0], shape[2:]
    if kind == 3:
        return rng.integers(0, 256, shape, np.uint8)
    if kind == 2:
        return _resize(rng.integers(0, 256, (CELLS, CELLS, *channels), np.uint8), size)
    sketch = _resize(draw_split(rng, 1).images[0], size)
    if not channels:
        return sketch
    return (sketch[..., None] * rng.uniform(0.2, 1, channels)).astype(np.uint8)


def _resize(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR))
