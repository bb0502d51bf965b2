"""Draw images that show no clothing, to measure OOD detection.

    python benchmarks/ood_images.py ood-images
    python benchmarks/photos.py --photos … --ood ood-images

Five kinds, one folder each: noise, textures, text, charts, and shapes on a plain background. They
are color PNGs of 480×640 pixels, generated from fixed seeds; none of them is used in training.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from common import make_parser

WIDTH, HEIGHT = 480, 640
Generator = np.random.Generator
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
"""Of English, by descending frequency."""


def random_color(random: Generator, low: int = 0, high: int = 255) -> tuple[int, int, int]:
    """Return an RGB color with channels from `low` to `high`."""
    red, green, blue = random.integers(low, high + 1, 3).tolist()
    return red, green, blue


def noise(random: Generator) -> Image.Image:
    """Return Gaussian noise of random grain size, grey or colored."""
    grain = int(random.choice([1, 4, 16, 64]))
    channels = int(random.choice([1, 3]))
    shape = (HEIGHT // grain + 1, WIDTH // grain + 1, channels)
    values = random.normal(random.uniform(60, 190), random.uniform(20, 90), shape)
    pixels = np.clip(values, 0, 255).astype(np.uint8).repeat(3 // channels, axis=2)
    smooth = Image.Resampling.BICUBIC if random.random() < 0.5 else Image.Resampling.NEAREST
    return Image.fromarray(pixels).resize((WIDTH, HEIGHT), smooth)


def texture(random: Generator) -> Image.Image:
    """Return stripes, checks, waves or a gradient between two colors."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] / WIDTH
    angle = random.uniform(0, np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    across = np.cos(angle) * y - np.sin(angle) * x
    frequency = random.uniform(5, 120)
    blend = {
        "stripes": np.sin(frequency * along) > 0,
        "checks": (np.sin(frequency * along) > 0) ^ (np.sin(frequency * across) > 0),
        "waves": 0.5 + 0.5 * np.sin(frequency * along + 3 * np.sin(frequency / 4 * across)),
        "gradient": (along - along.min()) / np.ptp(along),
    }[str(random.choice(["stripes", "checks", "waves", "gradient"]))]
    first, second = np.array(random_color(random)), np.array(random_color(random))
    pixels = first + (second - first) * np.asarray(blend, float)[..., None]
    grain = random.normal(0, random.uniform(0, 12), pixels.shape)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def text(random: Generator) -> Image.Image:
    """Return lines of random letters, from a page of small text to a few large words."""
    dark = random.random() < 0.3
    background, ink = random_color(random, 190), random_color(random, 0, 90)
    image = Image.new("RGB", (WIDTH, HEIGHT), ink if dark else background)
    pen = ImageDraw.Draw(image)
    size = float(random.uniform(12, 80))
    font = ImageFont.load_default(size)
    weights = 1 / np.arange(1, len(LETTERS) + 1)
    y = random.uniform(10, 80)
    while y < random.uniform(0.4, 1) * HEIGHT:
        lengths = random.integers(1, 10, 20)
        words = [
            "".join(random.choice(list(LETTERS), n, p=weights / weights.sum())) for n in lengths
        ]
        pen.text((20, y), " ".join(words)[: int(900 / size)], background if dark else ink, font)
        y += 1.3 * size
    return image


def chart(random: Generator) -> Image.Image:
    """Return a bar, line or scatter plot with axes, or a pie chart."""
    image = Image.new("RGB", (WIDTH, HEIGHT), random_color(random, 225))
    pen = ImageDraw.Draw(image)
    top, bottom = 60, HEIGHT - 60
    n = int(random.integers(4, 12))
    heights = bottom - random.uniform(0.1, 1, n) * (bottom - top)
    positions = np.linspace(70, WIDTH - 50, n)
    kind = str(random.choice(["bars", "lines", "points", "pie"]))
    if kind == "pie":
        edges = np.concatenate([[0], np.cumsum(random.dirichlet(np.ones(n)))]) * 360
        for start, end in pairwise(edges):
            pen.pieslice((60, 140, 420, 500), start, end, fill=random_color(random))
        return image
    pen.line([(50, top), (50, bottom), (WIDTH - 30, bottom)], fill=(0, 0, 0), width=3)
    if kind == "bars":
        fill = random_color(random, 0, 200)
        for x, y in zip(positions, heights, strict=True):
            pen.rectangle((x - 12, y, x + 12, bottom), fill=fill)
    elif kind == "lines":
        for _ in range(int(random.integers(1, 4))):
            steps = bottom - random.uniform(0.1, 1, n) * (bottom - top)
            pen.line(
                list(zip(positions, steps, strict=True)), fill=random_color(random, 0, 200), width=4
            )
    else:
        for _ in range(60):
            x, y = random.uniform(60, WIDTH - 40), random.uniform(top, bottom)
            pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=random_color(random, 0, 200))
    return image


def shapes(random: Generator) -> Image.Image:
    """Return discs, rectangles, stars and rings on a plain background."""
    image = Image.new("RGB", (WIDTH, HEIGHT), random_color(random))
    pen = ImageDraw.Draw(image)
    for _ in range(int(random.integers(1, 6))):
        x, y = random.uniform(0.2, 0.8) * WIDTH, random.uniform(0.2, 0.8) * HEIGHT
        radius = random.uniform(30, 180)
        box = (x - radius, y - radius * random.uniform(0.5, 1.5), x + radius, y + radius)
        fill = random_color(random)
        kind = random.integers(4)
        if kind == 0:
            pen.ellipse(box, fill=fill)
        elif kind == 1:
            pen.rectangle((x - radius, y - radius, x + radius, y + radius), fill=fill)
        elif kind == 2:
            pen.ellipse(box, outline=fill, width=int(random.integers(5, 30)))
        else:
            points = int(random.integers(3, 8))
            angles = np.arange(2 * points) * np.pi / points
            radii = np.where(np.arange(2 * points) % 2, 0.45, 1) * radius
            star = zip(x + radii * np.cos(angles), y + radii * np.sin(angles), strict=True)
            pen.polygon([(float(a), float(b)) for a, b in star], fill=fill)
    return image.filter(ImageFilter.GaussianBlur(1))


KINDS: dict[str, Callable[[Generator], Image.Image]] = {
    "noise": noise,
    "textures": texture,
    "text": text,
    "charts": chart,
    "shapes": shapes,
}


def create_images(folder: Path, each: int) -> None:
    """Write `each` images of every kind to ``folder/<kind>``; the folders must not exist."""
    for number, (kind, draw) in enumerate(KINDS.items()):
        (folder / kind).mkdir(parents=True)
        for index in range(each):
            random = np.random.default_rng((number, index))
            draw(random).save(folder / kind / f"{index:03}.png")


def main() -> None:
    """Create the images."""
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--each", type=int, default=40, help="images of every kind")
    options = parser.parse_args()
    create_images(options.folder, options.each)


if __name__ == "__main__":
    main()
