"""Several garments in one photograph."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fashioncnn.images.garments import box_of_largest
from fashioncnn.images.views import describe_photo, photo_views

SIZE = 28


def mask_with(*boxes):
    mask = np.zeros((60, 100), bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([(10, 10, 50, 40), (10, 60, 50, 85)], (0, 0, 60, 50)),  # half of the gap of 20 columns
        ([(10, 60, 50, 85), (2, 10, 52, 48)], (0, 4, 58, 54)),
        ([(3, 20, 28, 80), (32, 20, 56, 80)], (1, 18, 30, 82)),
    ],
)
def test_largest_of_several_garments_is_found_with_its_surroundings(boxes, expected):
    assert box_of_largest(mask_with(*boxes)) == expected


@pytest.mark.parametrize(
    "boxes",
    [
        [],
        [(10, 10, 50, 40)],
        [(10, 10, 50, 50), (10, 60, 50, 75)],  # less than half of the pixels
        [(10, 10, 50, 40), (10, 41, 50, 71)],  # a line of one pixel between them
        [(0, 0, 20, 20), (0, 30, 50, 50), (30, 0, 50, 50)],  # one within the corner of the other
    ],
)
def test_one_garment_is_not_several(boxes):
    assert box_of_largest(mask_with(*boxes)) is None


def draw(*boxes):
    """Return a photograph of rectangles on a floor, each given as (left, top, right, bottom)."""
    rng = np.random.default_rng(0)
    image = Image.new("RGB", (400, 300), (205, 190, 170))
    for box, color in zip(boxes, ((40, 60, 110), (130, 30, 40)), strict=False):
        ImageDraw.Draw(image).rectangle(box, fill=color)
    noisy = np.asarray(image) + rng.normal(0, 5, (300, 400, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def test_views_of_several_garments_show_the_largest():
    both = describe_photo(draw((40, 60, 180, 240), (240, 80, 350, 230)), SIZE)
    assert both.several_garments
    cut_out = both.views[0]
    assert (cut_out > 0).any(0).sum() == pytest.approx(SIZE * 140 / 180, abs=1.5), "of its shape"
    for whole in both.views[2:]:
        center = whole[SIZE // 2, SIZE // 4 : -SIZE // 4]
        assert np.ptp(center.astype(int)) < 30, "nothing of the gap or of the smaller garment"


def test_one_garment_is_not_reported():
    photo = draw((130, 60, 270, 240))
    assert not describe_photo(photo, SIZE).several_garments
    np.testing.assert_array_equal(describe_photo(photo, SIZE).views, photo_views(photo, SIZE))
