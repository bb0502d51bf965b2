"""Draw three photographs, and a figure of how they become model input.

    python benchmarks/photograph_figure.py docs/img/photographs.png

The photographs are synthetic: garments with folds, seams and shadows on a wooden floor, a sheet and
a carpet. So the figure shows no image of a third party and can be reproduced.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from common import make_parser
from photos import squeezed_view

WIDTH, HEIGHT = 600, 800
SIDE = 168
"""Side in pixels to which 28×28 images are enlarged."""
TITLES = ("drawn photograph", "grey, squeezed, inverted", "border trimmed", "model input: views")
"""Of the columns; the last one covers all views."""
Points = Sequence[tuple[float, float]]
"""Corners of a polygon, in pixels."""

T_SHIRT: Points = (
    *((215, 190), (262, 215), (338, 215), (385, 190), (440, 215), (520, 330), (448, 385)),
    *((420, 345), (428, 620), (172, 620), (180, 345), (152, 385), (80, 330), (160, 215)),
)
TROUSERS: Points = (
    *((205, 110), (395, 110), (420, 300), (468, 690), (368, 705), (305, 330), (295, 330)),
    *((232, 705), (132, 690), (180, 300)),
)
PULLOVER: Points = (
    *((240, 250), (270, 268), (330, 268), (360, 250), (420, 275), (575, 470), (525, 515)),
    *((425, 400), (425, 610), (175, 610), (175, 400), (75, 515), (25, 470), (180, 275)),
)


def floor(random: np.random.Generator) -> Image.Image:
    """Return a wooden floor."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    tone = random.normal(0, 9, WIDTH // 75 + 1)[x // 75]
    grain = 8 * np.sin(x / 6 + 2 * np.sin(y / 90) + tone) + tone - 35 * (x % 75 < 3)
    return _surface((168, 120, 74), grain, random)


def sheet(random: np.random.Generator) -> Image.Image:
    """Return a crumpled sheet."""
    folds = random.normal(0, 14, (9, 7)).astype(np.float32)
    smooth = Image.fromarray(folds).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return _surface((214, 208, 196), np.asarray(smooth), random)


def carpet(random: np.random.Generator) -> Image.Image:
    """Return a patterned carpet, darker towards a corner."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pattern = 12 * np.sign(np.sin(x / 22) * np.sin(y / 22)) - 0.04 * (x + y) + 25
    return _surface((122, 128, 134), pattern, random)


def _surface(color: Sequence[int], tone: object, random: np.random.Generator) -> Image.Image:
    pixels = np.array(color) + np.asarray(tone, float)[..., None]
    pixels = pixels + random.normal(0, 6, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def place_garment(
    background: Image.Image,
    outline: Points,
    color: tuple[int, int, int],
    seams: Sequence[Points],
    random: np.random.Generator,
) -> Image.Image:
    """Return the background with a garment on it: shadow, cloth with folds, seams."""
    mask = Image.new("L", background.size)
    ImageDraw.Draw(mask).polygon(list(outline), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(6)).point(lambda v: 255 if v > 127 else 0)
    shadow = ImageChops.offset(mask, 10, 14).filter(ImageFilter.GaussianBlur(9))
    darkened = background.point(lambda v: int(0.55 * v))
    scene = Image.composite(darkened, background, shadow)
    folds = random.normal(0, 16, (11, 8)).astype(np.float32)
    tone = np.asarray(Image.fromarray(folds).resize(background.size, Image.Resampling.BICUBIC))
    cloth = _surface(color, tone, random)
    pen = ImageDraw.Draw(cloth)
    for seam in seams:
        pen.line(list(seam), fill=tuple(int(0.6 * c) for c in color), width=5)
    scene.paste(cloth, mask=mask.filter(ImageFilter.GaussianBlur(1)))
    return scene.filter(ImageFilter.GaussianBlur(0.8))


def draw_photographs() -> dict[str, Image.Image]:
    """Return three drawn photographs by class name."""
    random = np.random.default_rng(0)
    collar: Points = ((222, 196), (265, 232), (335, 232), (378, 196))
    fly: Points = ((300, 112), (300, 330))
    waist: Points = ((200, 140), (400, 140))
    neck: Points = ((246, 256), (272, 284), (328, 284), (354, 256))
    hem: Points = ((176, 585), (424, 585))
    return {
        "T-shirt/top": place_garment(floor(random), T_SHIRT, (72, 104, 156), [collar], random),
        "Trouser": place_garment(sheet(random), TROUSERS, (54, 60, 84), [fly, waist], random),
        "Pullover": place_garment(carpet(random), PULLOVER, (158, 58, 56), [neck, hem], random),
    }


def draw_figure(model: str) -> Image.Image:
    """Return a row for each photograph: conversion steps, model input, predicted class.

    Args:
        model: path, or name of a bundled model.
    """
    from fashioncnn import Classifier

    classifier = Classifier.load(model)
    photographs = draw_photographs()
    rows = [conversion_steps(photo) for photo in photographs.values()]
    gap, head, foot = 12, 24, 30
    width = gap + (1 + max(map(len, rows))) * (SIDE + gap)
    row_height = SIDE + foot + gap
    figure = Image.new("RGB", (width, head + row_height * len(rows)), "white")
    pen = ImageDraw.Draw(figure)
    for column, title in enumerate(TITLES):
        pen.text((gap + column * (SIDE + gap), 6), title, fill="black", font_size=14)
    for number, (photo, steps) in enumerate(zip(photographs.values(), rows, strict=True)):
        top = head + number * row_height
        small = photo.copy()
        small.thumbnail((SIDE, SIDE))
        figure.paste(small, (gap + (SIDE - small.width) // 2, top))
        for column, step in enumerate(steps, 1):
            enlarged = Image.fromarray(step).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            figure.paste(enlarged, (gap + column * (SIDE + gap), top))
        probabilities = classifier.predict_proba(photo)[0]
        name = classifier.class_names[int(probabilities.argmax())]
        prediction = f"{name}, {100 * probabilities.max():.0f}%"
        pen.text((gap, top + SIDE + 6), prediction, fill="black", font_size=15)
    return figure


def conversion_steps(photo: Image.Image) -> list[NDArray[np.uint8]]:
    """Return (28, 28) images: squeezed, border trimmed, and every view of the mode `photo`."""
    from fashioncnn.images.views import VIEW_FUNCTIONS

    size = 28
    views = VIEW_FUNCTIONS["photo"](photo, size)
    return [squeezed_view(photo, size)[0], VIEW_FUNCTIONS["fashion"](photo, size)[0], *views]


def main() -> None:
    """Write the figure."""
    parser = make_parser(__doc__)
    parser.add_argument("figure", type=Path, help="a PNG to write")
    parser.add_argument("--model", default="photo")
    options = parser.parse_args()
    draw_figure(options.model).save(options.figure)


if __name__ == "__main__":
    main()
