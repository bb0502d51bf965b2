"""Letterboxes and screenshots: the photograph within."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from fashioncnn.images.bars import crop_bars
from fashioncnn.images.views import photo_views

RNG = np.random.default_rng(0)
WIDTH, HEIGHT = 400, 300


def noisy(image, scale=6):
    pixels = np.asarray(image) + RNG.normal(0, scale, (image.height, image.width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture
def photo():
    """A shirt on a wooden floor."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (170, 130, 90))
    ImageDraw.Draw(image).rectangle((130, 60, 270, 250), fill=(40, 60, 110))
    return noisy(image)


def with_controls(image):
    """Return a screenshot: a clock and symbols above the photograph, buttons below."""
    pen = ImageDraw.Draw(image)
    pen.text((20, 8), "12:45", fill="gray")
    for x in (300, 330, 360):
        pen.rectangle((x, 10, x + 16, 20), fill="gray")
        pen.ellipse((x - 250, image.height - 40, x - 235, image.height - 25), outline="gray")
    return image


@pytest.mark.parametrize("color", ["black", "white", (30, 60, 90)], ids=str)
@pytest.mark.parametrize("border", [(0, 90, 0, 150), (0, 60, 0, 0), (70, 0, 30, 0)], ids=str)
def test_bars_are_removed(photo, border, color):
    boxed = ImageOps.expand(photo, border, color)
    cropped = crop_bars(boxed)
    assert abs(cropped.width - WIDTH) <= 2 * boxed.width // 160 + 2
    assert abs(cropped.height - HEIGHT) <= 2 * boxed.height // 160 + 2


@pytest.mark.parametrize("color", ["black", "white", (200, 180, 170)], ids=str)
@pytest.mark.parametrize(
    "border", [(32, 24, 32, 24), (40, 40, 40, 40), (30, 30, 30, 110), (24, 60, 40, 60)], ids=str
)
def test_frame_is_removed(photo, border, color):
    framed = ImageOps.expand(photo, border, color)
    cropped = crop_bars(framed)
    assert abs(cropped.width - WIDTH) <= 2 * framed.width // 160 + 2
    assert abs(cropped.height - HEIGHT) <= 2 * framed.height // 160 + 2


@pytest.mark.parametrize("color", ["black", "white"])
def test_controls_of_a_screenshot_belong_to_its_bars(photo, color):
    buffer = BytesIO()
    with_controls(ImageOps.expand(photo, (0, 120, 0, 180), color)).save(buffer, "JPEG", quality=85)
    cropped = crop_bars(Image.open(buffer))
    assert abs(cropped.height - HEIGHT) < 12
    difference = photo_views(Image.open(buffer), 28).astype(int) - photo_views(photo, 28)
    assert np.abs(difference).mean() < 8


def boxy_shirt():
    """Return a shirt with straight sides before white, which is no photograph in a frame."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((120, 60, 280, 270), fill="navy")
    pen.polygon([(120, 60), (60, 140), (90, 160), (120, 130)], fill="navy")
    pen.polygon([(280, 60), (340, 140), (310, 160), (280, 130)], fill="navy")
    return image


def draw(background, garment):
    image = Image.new("RGB", (WIDTH, HEIGHT), background)
    ImageDraw.Draw(image).polygon([(200, 40), (350, 280), (50, 280)], fill=garment)
    return image


@pytest.mark.parametrize(
    "image",
    [
        draw("white", "navy"),  # a product before a background of one color
        noisy(draw("gray", "navy")),
        boxy_shirt(),
        Image.new("RGB", (WIDTH, HEIGHT), "white"),
        Image.new("L", (5, 5)),
        ImageOps.expand(draw("white", "navy").resize((40, 30)), (0, 20)),  # too small
        ImageOps.expand(noisy(draw("gray", "navy")), (0, 6), "black"),  # too thin
        ImageOps.expand(noisy(draw("gray", "navy")), (0, 600), "black"),  # hardly a photograph
    ],
    ids=["plain", "noisy", "boxy", "white", "tiny", "too small", "too thin", "hardly a photograph"],
)
def test_other_images_are_unchanged(image):
    assert crop_bars(image) is image
