"""Draw images that show no clothing at all, to see whether a network is unsure of them.

    python benchmarks/not_clothing.py not-clothing
    python benchmarks/photos.py --photos … --not-clothing not-clothing

Five kinds, a folder each: noise, textures, text, charts, and shapes on a plain ground. They are
made of a seed, as PNGs of 480×640 pixels in colour; nothing of them is used in training.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

WIDE, HIGH = 480, 640
Random = np.random.Generator
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
"""Of English, the commonest first."""


def colour(random: Random, low: int = 0, high: int = 255) -> tuple[int, int, int]:
    """Return any colour with channels from `low` to `high`."""
    red, green, blue = random.integers(low, high + 1, 3).tolist()
    return red, green, blue


def noise(random: Random) -> Image.Image:
    """Grains of any size, grey or coloured."""
    grain = int(random.choice([1, 4, 16, 64]))
    channels = int(random.choice([1, 3]))
    shape = (HIGH // grain + 1, WIDE // grain + 1, channels)
    values = random.normal(random.uniform(60, 190), random.uniform(20, 90), shape)
    pixels = np.clip(values, 0, 255).astype(np.uint8).repeat(3 // channels, axis=2)
    smooth = Image.Resampling.BICUBIC if random.random() < 0.5 else Image.Resampling.NEAREST
    return Image.fromarray(pixels).resize((WIDE, HIGH), smooth)


def texture(random: Random) -> Image.Image:
    """Stripes, checks, waves or a gradient in two colours, from edge to edge."""
    y, x = np.mgrid[:HIGH, :WIDE] / WIDE
    angle = random.uniform(0, np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    across = np.cos(angle) * y - np.sin(angle) * x
    often = random.uniform(5, 120)
    share = {
        "stripes": np.sin(often * along) > 0,
        "checks": (np.sin(often * along) > 0) ^ (np.sin(often * across) > 0),
        "waves": 0.5 + 0.5 * np.sin(often * along + 3 * np.sin(often / 4 * across)),
        "gradient": (along - along.min()) / np.ptp(along),
    }[str(random.choice(["stripes", "checks", "waves", "gradient"]))]
    one, other = np.array(colour(random)), np.array(colour(random))
    pixels = one + (other - one) * np.asarray(share, float)[..., None]
    rough = random.normal(0, random.uniform(0, 12), pixels.shape)
    return Image.fromarray(np.clip(pixels + rough, 0, 255).astype(np.uint8))


def text(random: Random) -> Image.Image:
    """A page, a note, a few large words: letters in lines."""
    dark = random.random() < 0.3
    ground, ink = colour(random, 190), colour(random, 0, 90)
    image = Image.new("RGB", (WIDE, HIGH), ink if dark else ground)
    pen = ImageDraw.Draw(image)
    size = float(random.uniform(12, 80))
    font = ImageFont.load_default(size)
    often = 1 / np.arange(1, len(LETTERS) + 1)
    y = random.uniform(10, 80)
    while y < random.uniform(0.4, 1) * HIGH:
        lengths = random.integers(1, 10, 20)
        words = ["".join(random.choice(list(LETTERS), n, p=often / often.sum())) for n in lengths]
        pen.text((20, y), " ".join(words)[: int(900 / size)], ground if dark else ink, font)
        y += 1.3 * size
    return image


def chart(random: Random) -> Image.Image:
    """Bars, lines, points or a pie, with axes."""
    image = Image.new("RGB", (WIDE, HIGH), colour(random, 225))
    pen = ImageDraw.Draw(image)
    top, bottom = 60, HIGH - 60
    n = int(random.integers(4, 12))
    heights = bottom - random.uniform(0.1, 1, n) * (bottom - top)
    places = np.linspace(70, WIDE - 50, n)
    kind = str(random.choice(["bars", "lines", "points", "pie"]))
    if kind == "pie":
        edges = np.concatenate([[0], np.cumsum(random.dirichlet(np.ones(n)))]) * 360
        for start, end in pairwise(edges):
            pen.pieslice((60, 140, 420, 500), start, end, fill=colour(random))
        return image
    pen.line([(50, top), (50, bottom), (WIDE - 30, bottom)], fill=(0, 0, 0), width=3)
    if kind == "bars":
        fill = colour(random, 0, 200)
        for x, y in zip(places, heights, strict=True):
            pen.rectangle((x - 12, y, x + 12, bottom), fill=fill)
    elif kind == "lines":
        for _ in range(int(random.integers(1, 4))):
            steps = bottom - random.uniform(0.1, 1, n) * (bottom - top)
            pen.line(list(zip(places, steps, strict=True)), fill=colour(random, 0, 200), width=4)
    else:
        for _ in range(60):
            x, y = random.uniform(60, WIDE - 40), random.uniform(top, bottom)
            pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour(random, 0, 200))
    return image


def shapes(random: Random) -> Image.Image:
    """Discs, boxes, stars and rings on a plain ground."""
    image = Image.new("RGB", (WIDE, HIGH), colour(random))
    pen = ImageDraw.Draw(image)
    for _ in range(int(random.integers(1, 6))):
        x, y = random.uniform(0.2, 0.8) * WIDE, random.uniform(0.2, 0.8) * HIGH
        radius = random.uniform(30, 180)
        box = (x - radius, y - radius * random.uniform(0.5, 1.5), x + radius, y + radius)
        fill = colour(random)
        kind = random.integers(4)
        if kind == 0:
            pen.ellipse(box, fill=fill)
        elif kind == 1:
            pen.rectangle((x - radius, y - radius, x + radius, y + radius), fill=fill)
        elif kind == 2:
            pen.ellipse(box, outline=fill, width=int(random.integers(5, 30)))
        else:
            points = int(random.integers(3, 8))
            turns = np.arange(2 * points) * np.pi / points
            radii = np.where(np.arange(2 * points) % 2, 0.45, 1) * radius
            star = zip(x + radii * np.cos(turns), y + radii * np.sin(turns), strict=True)
            pen.polygon([(float(a), float(b)) for a, b in star], fill=fill)
    return image.filter(ImageFilter.GaussianBlur(1))


KINDS: dict[str, Callable[[Random], Image.Image]] = {
    "noise": noise,
    "textures": texture,
    "text": text,
    "charts": chart,
    "shapes": shapes,
}


def draw(folder: Path, each: int) -> None:
    """Write `each` images of every kind."""
    for number, (kind, make) in enumerate(KINDS.items()):
        (folder / kind).mkdir(parents=True)
        for index in range(each):
            random = np.random.default_rng((number, index))
            make(random).save(folder / kind / f"{index:03}.png")


def main() -> None:
    """Draw them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="to make")
    parser.add_argument("--each", type=int, default=40, help="images of every kind")
    options = parser.parse_args()
    draw(options.folder, options.each)


if __name__ == "__main__":
    main()
