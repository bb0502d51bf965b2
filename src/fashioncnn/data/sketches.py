"""``sketches``: a small synthetic dataset for a first try and for tests.

Ten garment outlines with random shape, shade, pattern, rotation and noise, drawn without any
download. It is not Fashion-MNIST, and results on it do not transfer to Fashion-MNIST.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fashioncnn.data.dataset import FASHION_MNIST_CLASSES, SKETCHES, Dataset, Split

TRAIN_SIZE, TEST_SIZE = 3000, 1000
SIZE = 28
OVERSAMPLING = 4
SEED = 1

Generator = np.random.Generator
Points = list[tuple[float, float]]
Shape = tuple[str, Points, float]
"""``polygon`` or ``line``, points in the unit square, brightness relative to the garment's."""


@lru_cache(maxsize=1)
def draw_sketches() -> Dataset:
    """Return the dataset: 3,000 training and 1,000 test images, deterministic and cached."""
    return Dataset(
        SKETCHES,
        FASHION_MNIST_CLASSES,
        draw_split(np.random.default_rng([SEED, 0]), TRAIN_SIZE),
        draw_split(np.random.default_rng([SEED, 1]), TEST_SIZE),
        "fashion",
        SKETCHES,
    )


def draw_split(rng: Generator, n: int) -> Split:
    """Return `n` images, the classes as equally frequent as possible."""
    labels = rng.permutation(np.arange(n) % len(GARMENTS)).astype(np.uint8)
    return Split(np.stack([_draw_image(GARMENTS[label], rng) for label in labels]), labels)


def _draw_image(garment: Callable[[Generator], list[Shape]], rng: Generator) -> NDArray[np.uint8]:
    side = SIZE * OVERSAMPLING
    canvas = Image.new("L", (side, side))
    draw = ImageDraw.Draw(canvas)
    shade = rng.uniform(90, 235)
    transform = _random_transform(rng)
    for kind, points, brightness in garment(rng):
        xy = [(x * side, y * side) for x, y in transform(np.array(points))]
        level = int(np.clip(shade * brightness, 0, 255))
        if kind == "polygon":
            draw.polygon(xy, fill=level)
        else:
            draw.line(xy, fill=level, width=OVERSAMPLING)
    image = _block_means(np.asarray(canvas))
    inside = image > 0
    image = image * _random_pattern(rng) + rng.normal(0, rng.uniform(3, 18), image.shape) * inside
    image += rng.normal(0, 5, image.shape)
    gray: NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return gray


def _block_means(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the means of blocks of OVERSAMPLING × OVERSAMPLING pixels, by sums of integers."""
    rows = np.zeros((SIZE, image.shape[1]), np.uint16)
    for i in range(OVERSAMPLING):
        rows += image[i::OVERSAMPLING]
    sums = np.zeros((SIZE, SIZE), np.uint16)
    for i in range(OVERSAMPLING):
        sums += rows[:, i::OVERSAMPLING]
    return sums / np.float64(OVERSAMPLING**2)


def _random_transform(rng: Generator) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return a small random rotation, scaling and translation of points in the unit square."""
    angle = rng.normal(0, 0.06)
    scale = rng.uniform(0.8, 1.02, 2)
    shift = rng.uniform(-0.04, 0.04, 2)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return lambda points: ((points - 0.5) * scale) @ rotation.T + 0.5 + shift


def _random_pattern(rng: Generator) -> NDArray[np.float64]:
    """Return (SIZE, SIZE) brightness factors around 1: uniform, stripes or a gradient."""
    kind = rng.integers(3)
    if kind == 0:
        return np.ones((SIZE, SIZE))
    rows, columns = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    position = rows if rng.random() < 0.5 else columns
    factors: NDArray[np.float64]
    if kind == 1:
        factors = 1 + rng.uniform(0.05, 0.25) * np.sin(position * rng.uniform(15, 60))
    else:
        factors = 1 + rng.uniform(-0.4, 0.4) * (position - 0.5)
    return factors


def _symmetric(right: Points) -> Points:
    """Return the closed outline of a symmetric shape, given its right half from top to bottom."""
    return right + [(1 - x, y) for x, y in reversed(right)]


def _upper_body(rng: Generator, sleeve: float, length: float, flare: float, neck: float) -> Points:
    """Return the outline of a top; `sleeve` is the length of a sleeve as a fraction of the arm."""
    waist = rng.uniform(0.18, 0.22)
    shoulder = rng.uniform(0.22, 0.26)
    hand = (shoulder + 0.05 + 0.15 * sleeve, 0.16 + 0.62 * sleeve)
    cuff = rng.uniform(0.07, 0.11)
    armpit = (waist, 0.34)
    right = [(0.09, 0.08), (0.02, 0.08 + neck)][::-1]
    right += [(shoulder, 0.13)]
    if sleeve > 0.02:
        right += [hand, (hand[0] - cuff, hand[1] + 0.03)]
    right += [armpit, (waist + flare, length)]
    return _symmetric([(0.5 + x, y) for x, y in right])


def _t_shirt(rng: Generator) -> list[Shape]:
    outline = _upper_body(rng, rng.uniform(0.08, 0.42), rng.uniform(0.78, 0.93), 0.0, 0.04)
    return [("polygon", outline, 1.0)]


def _trouser(rng: Generator) -> list[Shape]:
    waist, hem = rng.uniform(0.12, 0.18), rng.uniform(0.06, 0.11)
    gap = rng.uniform(0.02, 0.08)
    crotch = rng.uniform(0.3, 0.42)
    foot = 0.5 + gap + hem
    right = [(0.5 + waist, 0.04), (foot, 0.96), (0.5 + gap, 0.96), (0.5, crotch)]
    return [("polygon", _symmetric(right), 1.0)]


def _pullover(rng: Generator) -> list[Shape]:
    outline = _upper_body(rng, rng.uniform(0.75, 1.0), rng.uniform(0.8, 0.93), 0.01, 0.02)
    hem = [(0.33, 0.8), (0.67, 0.8)]
    return [("polygon", outline, 1.0), ("line", hem, 0.8)]


def _dress(rng: Generator) -> list[Shape]:
    sleeve = rng.choice([0.0, rng.uniform(0.1, 0.5)])
    outline = _upper_body(rng, sleeve, 0.97, rng.uniform(-0.03, 0.1), rng.uniform(0.03, 0.09))
    narrowed = [((x - 0.5) * rng.uniform(0.55, 0.75) + 0.5, y) for x, y in outline]
    return [("polygon", narrowed, 1.0)]


def _coat(rng: Generator) -> list[Shape]:
    outline = _upper_body(rng, rng.uniform(0.75, 1.0), rng.uniform(0.86, 0.97), 0.03, 0.07)
    slant = rng.normal(0, 0.015)
    opening: Shape = ("line", [(0.5, 0.15), (0.5 + slant, 0.95)], rng.uniform(0.2, 0.6))
    return [("polygon", outline, 1.0), opening]


def _sandal(rng: Generator) -> list[Shape]:
    heel = rng.uniform(0.0, 0.22)
    sole = [(0.04, 0.74), (0.45, 0.7), (0.95, 0.62 - heel), (0.97, 0.8), (0.9, 0.68 - heel / 2)]
    sole += [(0.45, 0.78), (0.05, 0.8)]
    shapes: list[Shape] = [("polygon", sole, 1.0)]
    for start in rng.uniform(0.12, 0.8, rng.integers(2, 5)):
        top = start + rng.uniform(0.02, 0.14)
        rise = rng.uniform(0.4, 0.58)
        strap = [(start, 0.74), (top, rise), (top + 0.05, rise), (start + 0.1, 0.72)]
        shapes.append(("polygon", strap, rng.uniform(0.7, 1.1)))
    return shapes


def _shirt(rng: Generator) -> list[Shape]:
    sleeve = rng.choice([rng.uniform(0.25, 0.5), rng.uniform(0.75, 1.0)])
    outline = _upper_body(rng, sleeve, rng.uniform(0.8, 0.95), 0.01, 0.06)
    collar = [(0.4, 0.07), (0.5, 0.17), (0.6, 0.07)]
    shapes: list[Shape] = [("polygon", outline, 1.0), ("line", collar, 0.4)]
    buttons = np.linspace(0.22, 0.8, rng.integers(4, 8))
    if rng.random() < 0.9:
        shapes += [("line", [(0.49, y), (0.51, y)], 0.15) for y in buttons]
    return shapes


def _sneaker(rng: Generator) -> list[Shape]:
    top = rng.uniform(0.34, 0.44)
    upper = [(0.05, 0.66), (0.3, 0.56), (0.56, top), (0.7, top + 0.04), (0.9, top - 0.02)]
    upper += [(0.95, 0.66)]
    sole = [(0.03, 0.65), (0.97, 0.65), (0.96, 0.75), (0.06, 0.75)]
    stripe = [(0.55, 0.64), (0.62, top + 0.06)]
    return [
        ("polygon", upper, 1.0),
        ("polygon", sole, rng.uniform(0.6, 1.3)),
        ("line", stripe, 0.6),
    ]


def _bag(rng: Generator) -> list[Shape]:
    top, half = rng.uniform(0.34, 0.5), rng.uniform(0.28, 0.46)
    slant = rng.uniform(-0.06, 0.06)
    body = _symmetric([(0.5 + half + slant, top), (0.5 + half - slant, 0.9)])
    reach, rise = rng.uniform(0.12, 0.24), top - rng.uniform(0.12, 0.28)
    handle = [(0.5 - reach, top), (0.5 - reach * 0.7, rise), (0.5 + reach * 0.7, rise)]
    handle += [(0.5 + reach, top)]
    flap = [(0.5 - half, top + 0.12), (0.5 + half, top + 0.12)]
    return [("polygon", body, 1.0), ("line", handle, 0.9), ("line", flap, 0.6)]


def _ankle_boot(rng: Generator) -> list[Shape]:
    shaft = rng.uniform(0.08, 0.3)
    heel = rng.uniform(0.0, 0.1)
    boot = [(0.05, 0.74), (0.3, 0.6), (0.52, 0.48), (0.55, shaft), (0.9, shaft - 0.02)]
    boot += [(0.94, 0.86), (0.78, 0.86), (0.74, 0.86 - heel), (0.08, 0.84)]
    return [("polygon", boot, 1.0)]


GARMENTS = (
    _t_shirt,
    _trouser,
    _pullover,
    _dress,
    _coat,
    _sandal,
    _shirt,
    _sneaker,
    _bag,
    _ankle_boot,
)
"""Functions that return the shapes of a random garment, by label."""
