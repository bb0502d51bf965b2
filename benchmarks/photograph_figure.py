"""Draw three photographs, and what the steps from a photograph to the network make of them.

    python benchmarks/photo_steps.py docs/img/photographs.png

The photographs are drawn here: garments with folds, seams and shadows on a wooden floor, a sheet
and a carpet. Nobody's images are shown that way, and anybody can make the figure again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from photos import naive

WIDE, HIGH = 600, 800
SHOWN = 168
"""Pixels that a 28×28 image is enlarged to."""
Points = Sequence[tuple[float, float]]

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
    """Boards of wood."""
    y, x = np.mgrid[:HIGH, :WIDE]
    tone = random.normal(0, 9, WIDE // 75 + 1)[x // 75]
    grain = 8 * np.sin(x / 6 + 2 * np.sin(y / 90) + tone) + tone - 35 * (x % 75 < 3)
    return _ground((168, 120, 74), grain, random)


def sheet(random: np.random.Generator) -> Image.Image:
    """A crumpled sheet."""
    folds = random.normal(0, 14, (9, 7)).astype(np.float32)
    smooth = Image.fromarray(folds).resize((WIDE, HIGH), Image.Resampling.BICUBIC)
    return _ground((214, 208, 196), np.asarray(smooth), random)


def carpet(random: np.random.Generator) -> Image.Image:
    """A carpet with a pattern, darker towards a corner."""
    y, x = np.mgrid[:HIGH, :WIDE]
    pattern = 12 * np.sign(np.sin(x / 22) * np.sin(y / 22)) - 0.04 * (x + y) + 25
    return _ground((122, 128, 134), pattern, random)


def _ground(colour: Sequence[int], tone: object, random: np.random.Generator) -> Image.Image:
    pixels = np.array(colour) + np.asarray(tone, float)[..., None]
    pixels = pixels + random.normal(0, 6, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def lay(
    ground: Image.Image,
    outline: Points,
    colour: tuple[int, int, int],
    seams: Sequence[Points],
    random: np.random.Generator,
) -> Image.Image:
    """Lay a garment on a ground: its shadow, its cloth with folds, its seams."""
    mask = Image.new("L", ground.size)
    ImageDraw.Draw(mask).polygon(list(outline), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(6)).point(lambda v: 255 if v > 127 else 0)
    shadow = ImageChops.offset(mask, 10, 14).filter(ImageFilter.GaussianBlur(9))
    scene = Image.composite(ground.point(lambda v: int(0.55 * v)), ground, shadow)
    folds = random.normal(0, 16, (11, 8)).astype(np.float32)
    tone = np.asarray(Image.fromarray(folds).resize(ground.size, Image.Resampling.BICUBIC))
    cloth = _ground(colour, tone, random)
    pen = ImageDraw.Draw(cloth)
    for seam in seams:
        pen.line(list(seam), fill=tuple(int(0.6 * c) for c in colour), width=5)
    scene.paste(cloth, mask=mask.filter(ImageFilter.GaussianBlur(1)))
    return scene.filter(ImageFilter.GaussianBlur(0.8))


def photographs() -> dict[str, Image.Image]:
    """Return three drawn photographs."""
    random = np.random.default_rng(0)
    collar: Points = ((222, 196), (265, 232), (335, 232), (378, 196))
    fly: Points = ((300, 112), (300, 330))
    waist: Points = ((200, 140), (400, 140))
    neck: Points = ((246, 256), (272, 284), (328, 284), (354, 256))
    hem: Points = ((176, 585), (424, 585))
    return {
        "T-shirt/top": lay(floor(random), T_SHIRT, (72, 104, 156), [collar], random),
        "Trouser": lay(sheet(random), TROUSERS, (54, 60, 84), [fly, waist], random),
        "Pullover": lay(carpet(random), PULLOVER, (158, 58, 56), [neck, hem], random),
    }


def sheet_of(model: str) -> Image.Image:
    """Return the figure: a row for each photograph, its steps side by side."""
    from fashioncnn.classifier import Classifier
    from fashioncnn.images.views import VIEW_FUNCTIONS

    classifier = Classifier.load(model)
    size = 28
    images = photographs()
    steps = [
        "drawn photograph",
        "grey, squeezed, inverted",
        "border trimmed",
        "what the network sees",
    ]
    views = len(VIEW_FUNCTIONS["photo"](next(iter(images.values())), size))
    gap, head, foot = 12, 24, 30
    width = 2 * gap + (3 + views) * (SHOWN + gap)
    row = SHOWN + foot + gap
    figure = Image.new("RGB", (width, head + row * len(images)), "white")
    pen = ImageDraw.Draw(figure)
    for column, step in enumerate(steps):
        pen.text((gap + column * (SHOWN + gap), 6), step, fill="black", font_size=14)
    for number, photo in enumerate(images.values()):
        top = head + number * row
        small = photo.copy()
        small.thumbnail((SHOWN, SHOWN))
        figure.paste(small, (gap + (SHOWN - small.width) // 2, top))
        shown = [naive(photo, size)[0], VIEW_FUNCTIONS["fashion"](photo, size)[0]]
        shown += list(VIEW_FUNCTIONS["photo"](photo, size))
        for column, image in enumerate(shown, 1):
            large = Image.fromarray(image).resize((SHOWN, SHOWN), Image.Resampling.NEAREST)
            figure.paste(large, (gap + column * (SHOWN + gap), top))
        probabilities = classifier.predict_proba(photo)[0]
        name = classifier.class_names[int(probabilities.argmax())]
        said = f"{name}, {100 * probabilities.max():.0f}%"
        pen.text((gap, top + SHOWN + 6), said, fill="black", font_size=15)
    return figure


def main() -> None:
    """Write the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("figure", type=Path, help="a PNG to write")
    parser.add_argument("--model", default="photo")
    options = parser.parse_args()
    sheet_of(options.model).save(options.figure)


if __name__ == "__main__":
    main()
