"""Cutting garments out of images whose truth is known: they are drawn here."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from fashioncnn.images.segmentation import PLACES, cut_out, garment_mask, to_lab
from fashioncnn.images.views import VIEW_FUNCTIONS

SHIRT = [(60, 60), (110, 45), (190, 45), (240, 60), (290, 130), (250, 150), (225, 115)]
SHIRT += [(225, 330), (75, 330), (75, 115), (50, 150), (10, 130)]


def draw(ground, cloth, *, stripes=None):
    """A shirt of one colour on a ground of another, and the mask of where it is."""
    mask = Image.new("L", (300, 400))
    ImageDraw.Draw(mask).polygon(SHIRT, fill=255)
    scene = Image.new("RGB", mask.size, ground)
    if stripes:
        for y in range(0, 400, 40):
            ImageDraw.Draw(scene).rectangle((0, y, 300, y + 19), fill=stripes)
    scene.paste(Image.new("RGB", mask.size, cloth), mask=mask)
    noise = np.random.default_rng(0).normal(scale=6, size=(400, 300, 3))
    pixels = np.clip(np.asarray(scene.filter(ImageFilter.GaussianBlur(1))) + noise, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8)), np.asarray(mask) > 127


def overlap(found, truth):
    """Intersection over union."""
    size = (truth.shape[1], truth.shape[0])
    found = np.asarray(Image.fromarray((found > 0.5).astype(np.uint8) * 255).resize(size)) > 127
    return (found & truth).sum() / (found | truth).sum()


SCENES = {
    "dark on light": ((220, 215, 205), (30, 30, 60), None),
    "light on dark": ((50, 35, 25), (230, 230, 225), None),
    "colour alone tells them apart": ((110, 130, 110), (170, 100, 110), None),
    "on stripes": ((200, 180, 60), (150, 20, 40), (60, 80, 160)),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_a_garment_of_another_colour_is_found(scene, place):
    ground, cloth, stripes = scene
    image, truth = draw(ground, cloth, stripes=stripes)
    assert overlap(garment_mask(image, place), truth) > 0.9


def test_a_pair_is_found_and_a_speck_is_not():
    image = Image.new("RGB", (400, 300), (200, 190, 180))
    pen = ImageDraw.Draw(image)
    for left in (80, 220):
        pen.ellipse((left, 60, left + 100, 240), fill=(40, 30, 30))
    pen.ellipse((190, 20, 205, 35), fill=(40, 30, 30))
    mask = garment_mask(image, PLACES[0]) > 0.5
    rows, columns = mask.shape
    at = lambda x, y: mask[y * rows // 300, x * columns // 400]  # noqa: E731
    assert at(130, 150)
    assert at(270, 150)
    assert not at(197, 28)


def test_what_is_shown_is_large_in_negative_and_on_black():
    image, _ = draw((230, 230, 230), (60, 60, 60))
    views = cut_out(image, 28)
    assert views.shape == (len(PLACES), 28, 28)
    for view in views:
        assert view.dtype == np.uint8
        assert (view > 0).any(1).all(), "it fills the height"
        assert (view[:, :1] == 0).all(), "beside it is black"
        assert abs(int(view[14, 14]) - (255 - 60)) < 12


def test_what_is_see_through_is_background():
    image, truth = draw((230, 20, 20), (235, 25, 25))  # colours tell nothing
    image.putalpha(Image.fromarray(truth.astype(np.uint8) * 255))
    views = cut_out(image, 28)
    assert len(views) == 1
    whole = np.asarray(Image.fromarray(truth).crop((10, 45, 291, 331)).resize((28, 28)))
    assert overlap(np.where(views[0] > 0, 1.0, 0.0), whole) > 0.9


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (5000, 2), (28, 29), (3, 3)])
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (10, 200, 30)])
def test_images_with_nothing_on_them_are_shown_whole(size, colour):
    views = cut_out(Image.new("RGB", size, colour), 28)
    assert views.shape[1:] == (28, 28)
    assert views.any()


def test_images_of_the_data_set_are_taken_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    assert (VIEW_FUNCTIONS["cutout"](Image.fromarray(image), 28) == image[None]).all()


def test_the_same_image_gives_the_same_bytes():
    image, _ = draw((220, 215, 205), (30, 30, 60))
    assert (cut_out(image, 28) == cut_out(image.copy(), 28)).all()


def test_lab_of_known_colours():
    """By the CIE's formulae, as colour calculators give them (sRGB, D65)."""
    colours = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    known = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]
    assert to_lab(colours) == pytest.approx(np.array(known), abs=0.05)
