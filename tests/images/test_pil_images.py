"""Images opened or created with Pillow have the pixels of their files."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.data.pixels import to_images
from fashioncnn.errors import ImageError
from fashioncnn.images.decoding import read_image
from fashioncnn.images.pil_images import from_pil
from fashioncnn.inference.arrays import as_images

ROUGH = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)


@pytest.fixture
def photograph(tmp_path):
    """Return the path of a JPEG that a camera held upright would write."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.jpg"
    Image.fromarray(ROUGH).resize((1300, 1000)).save(path, exif=exif)
    return path


def test_opened_jpeg_is_decoded_as_its_file(photograph):
    with Image.open(photograph) as image:
        np.testing.assert_array_equal(from_pil(image, 256), read_image(photograph, min_side=256))
        assert image.size == (1300, 1000)
        np.testing.assert_array_equal(from_pil(image), read_image(photograph))


def test_training_and_prediction_read_the_same_pixels(photograph):
    preprocessing = Preprocessing(28, 0.0, 1.0, "plain")
    expected = as_images(photograph, preprocessing)
    np.testing.assert_array_equal(to_images([photograph]), expected)
    for read in (to_images, lambda images: as_images(images, preprocessing)):
        with Image.open(photograph) as image:
            np.testing.assert_array_equal(read([image]), expected)


def test_second_page_is_that_of_the_user():
    pages = [Image.new("L", (8, 8), level) for level in (10, 200)]
    buffer = BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    image = Image.open(buffer)
    image.seek(1)
    assert np.asarray(from_pil(image)).max() == 200


def test_second_image_of_a_multi_picture_file_is_that_of_the_user():
    images = [Image.new("RGB", (80, 60), (level,) * 3) for level in (60, 200)]
    buffer = BytesIO()
    images[0].save(buffer, "MPO", save_all=True, append_images=images[1:])
    image = Image.open(buffer)
    assert abs(int(np.asarray(from_pil(image)).max()) - 60) < 3
    image.seek(1)
    assert abs(int(np.asarray(from_pil(image)).max()) - 200) < 3


def test_truncated_and_empty_images_are_rejected(photograph):
    photograph.write_bytes(photograph.read_bytes()[:9000])
    with (
        Image.open(photograph) as image,
        pytest.raises(ImageError, match=r"a\.jpg: damaged image \(image file is truncated"),
    ):
        from_pil(image, 256)
    with pytest.raises(ImageError, match=r"PIL image: 0×3 pixels; should not be empty"):
        from_pil(Image.new("L", (0, 3)))
