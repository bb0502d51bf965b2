import numpy as np
import pytest
from PIL import Image

from fashioncnn.errors import ImageError
from fashioncnn.images.color import is_grayscale, normalize_mode, to_grayscale, to_lab

MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "YCbCr"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_normalized_to_one_of_three(mode):
    image = Image.new(mode, (5, 4))
    assert normalize_mode(image).mode in ("L", "RGB", "RGBA")
    assert to_grayscale(image).shape == (4, 5)


def test_transparency_is_composited_on_white():
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert to_grayscale(image).tolist() == [[255] * 4] * 4


def test_image_without_pixels_is_rejected():
    with pytest.raises(ImageError, match="an image of 0×3 pixels is empty"):
        to_grayscale(Image.new("L", (0, 3)))


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("L", 7, True),
        ("RGB", (7, 7, 7), True),
        ("RGB", (7, 7, 8), False),
        ("RGBA", (7, 7, 7, 255), True),
        ("RGBA", (7, 7, 7, 254), False),
        ("LA", (7, 0), False),
    ],
)
def test_grayscale_means_gray_and_without_alpha(mode, color, expected):
    assert is_grayscale(Image.new(mode, (3, 3), color)) is expected


def test_one_colored_pixel_is_not_grayscale():
    image = Image.new("RGB", (3, 3))
    image.putpixel((2, 1), (0, 1, 0))
    assert not is_grayscale(image)


def test_lab_of_known_colors():
    """By the CIE's formulas, as published in tables for sRGB and D65."""
    colors = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    known = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]
    assert to_lab(colors) == pytest.approx(np.array(known), abs=0.05)
