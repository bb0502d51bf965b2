"""Files as phones write them: many pixels, lying on the side, with the orientation in EXIF."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fashioncnn.images.decoding import decoded_side, read_image
from fashioncnn.images.views import photo_views

SIZE = 28
ORIENTATION, ROTATED_BY_90 = 0x0112, 6


def draw_portrait():
    """Return 375×500 pixels: trousers on a floor, one leg in the light."""
    image = Image.new("RGB", (375, 500), (190, 170, 150))
    pen = ImageDraw.Draw(image)
    pen.polygon(
        [(110, 60), (265, 60), (290, 440), (215, 440), (188, 160), (160, 440), (85, 440)],
        (40, 50, 90),
    )
    pen.rectangle((215, 200, 285, 300), (70, 80, 120))
    return image


def phone_jpeg(image, width, height):
    """Return a file of `width`×`height` pixels that show `image` turned by 90 degrees."""
    lying = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ORIENTATION] = ROTATED_BY_90
    buffer = BytesIO()
    lying.resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", exif=exif)
    return buffer


@pytest.mark.parametrize(
    ("width", "height", "decoded"),
    [
        (4000, 3000, (375, 500)),
        (4032, 3024, (378, 504)),
        pytest.param(5712, 4284, (536, 714), marks=pytest.mark.slow),
        pytest.param(8064, 6048, (378, 504), marks=pytest.mark.slow),
    ],
)
def test_views_are_those_of_a_small_upright_image(width, height, decoded):
    small = draw_portrait()
    image = read_image(phone_jpeg(small, width, height), "phone.jpg", min_side=decoded_side(SIZE))
    assert image.size == decoded
    difference = photo_views(image, SIZE).astype(int) - photo_views(small, SIZE)
    assert np.abs(difference).mean() < 2
