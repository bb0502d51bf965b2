"""Segmentation of drawn scenes, whose true masks are known."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from fashioncnn.images.segmentation import CENTER_WEIGHTS, cut_out, garment_masks

SHIRT = [(60, 60), (110, 45), (190, 45), (240, 60), (290, 130), (250, 150), (225, 115)]
SHIRT += [(225, 330), (75, 330), (75, 115), (50, 150), (10, 130)]


def draw(background, garment, *, stripes=None):
    """Return a shirt of one color on a background of another, and its mask."""
    mask = Image.new("L", (300, 400))
    ImageDraw.Draw(mask).polygon(SHIRT, fill=255)
    scene = Image.new("RGB", mask.size, background)
    if stripes:
        for y in range(0, 400, 40):
            ImageDraw.Draw(scene).rectangle((0, y, 300, y + 19), fill=stripes)
    scene.paste(Image.new("RGB", mask.size, garment), mask=mask)
    noise = np.random.default_rng(0).normal(scale=6, size=(400, 300, 3))
    pixels = np.clip(np.asarray(scene.filter(ImageFilter.GaussianBlur(1))) + noise, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8)), np.asarray(mask) > 127


def intersection_over_union(mask, truth):
    size = (truth.shape[1], truth.shape[0])
    mask = np.asarray(Image.fromarray((mask > 0.5).astype(np.uint8) * 255).resize(size)) > 127
    return (mask & truth).sum() / (mask | truth).sum()


SCENES = {
    "dark on light": ((220, 215, 205), (30, 30, 60), None),
    "light on dark": ((50, 35, 25), (230, 230, 225), None),
    "differs in hue only": ((110, 130, 110), (170, 100, 110), None),
    "on stripes": ((200, 180, 60), (150, 20, 40), (60, 80, 160)),
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_garment_is_separated_from_the_background(scene):
    background, garment, stripes = scene
    image, truth = draw(background, garment, stripes=stripes)
    for mask in garment_masks(image):
        assert intersection_over_union(mask, truth) > 0.9


def test_two_large_components_are_kept_and_a_small_one_is_dropped():
    image = Image.new("RGB", (400, 300), (200, 190, 180))
    pen = ImageDraw.Draw(image)
    for left in (80, 220):
        pen.ellipse((left, 60, left + 100, 240), fill=(40, 30, 30))
    pen.ellipse((190, 20, 205, 35), fill=(40, 30, 30))
    mask = garment_masks(image)[0] > 0.5
    rows, columns = mask.shape
    left_shoe, right_shoe, speck = (
        mask[y * rows // 300, x * columns // 400] for x, y in ((130, 150), (270, 150), (197, 28))
    )
    assert left_shoe
    assert right_shoe
    assert not speck


def test_cut_out_is_inverted_on_black_and_fills_the_frame():
    image, _ = draw((230, 230, 230), (60, 60, 60))
    views = cut_out(image, 28)
    assert views.shape == (len(CENTER_WEIGHTS), 28, 28)
    for view in views:
        assert view.dtype == np.uint8
        assert (view > 0).any(1).all(), "fills the height"
        assert (view[:, :1] == 0).all(), "black beside the garment"
        assert abs(int(view[14, 14]) - (255 - 60)) < 12


def test_transparency_defines_the_background():
    image, truth = draw((230, 20, 20), (235, 25, 25))  # colors hardly differ
    image.putalpha(Image.fromarray(truth.astype(np.uint8) * 255))
    views = cut_out(image, 28)
    assert len(views) == 1
    expected = np.asarray(Image.fromarray(truth).crop((10, 45, 291, 331)).resize((28, 28)))
    assert intersection_over_union(np.where(views[0] > 0, 1.0, 0.0), expected) > 0.9


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (5000, 2), (28, 29), (3, 3)])
@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (10, 200, 30)])
def test_blank_image_is_kept_whole(size, color):
    views = cut_out(Image.new("RGB", size, color), 28)
    assert views.shape[1:] == (28, 28)
    assert views.any()


def test_segmentation_is_deterministic():
    image, _ = draw((220, 215, 205), (30, 30, 60))
    np.testing.assert_array_equal(cut_out(image, 28), cut_out(image.copy(), 28))
