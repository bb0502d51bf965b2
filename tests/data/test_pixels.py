import numpy as np
import pytest
import torch
from PIL import Image

from fashioncnn.data.pixels import to_images
from fashioncnn.errors import DataError, ImageError, UsageError
from fashioncnn.images.views import plain_view

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 9, 9), np.uint8)
COLORS = np.random.default_rng(1).integers(0, 256, (2000, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    "form",
    [
        IMAGES,
        IMAGES[:, None],
        IMAGES[..., None],
        IMAGES.reshape(3, 81),
        IMAGES.astype(np.int64),
        IMAGES.astype(np.float64),
        IMAGES / 255,
        (IMAGES / 255).astype(np.float32),
        IMAGES.tolist(),
        list(IMAGES),
        torch.from_numpy(IMAGES),
        torch.from_numpy(IMAGES)[:, None] / 255,
        list(torch.from_numpy(IMAGES)),
        np.repeat(IMAGES[..., None], 3, axis=3),
        np.repeat(IMAGES[:, None], 3, axis=1),
    ],
    ids=lambda form: f"{type(form).__name__} {getattr(form, 'dtype', '')}",
)
def test_forms_of_the_same_images_are_equal(form):
    images = to_images(form)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, IMAGES)


def test_color_is_converted_as_by_pillow():
    expected = [np.asarray(Image.fromarray(image).convert("L")) for image in COLORS]
    np.testing.assert_array_equal(to_images(COLORS), expected)


def test_booleans_are_black_and_white():
    image = np.eye(3, dtype=bool)
    np.testing.assert_array_equal(to_images(image[None]), [image * 255])


def test_images_are_resized_as_files_are(tmp_path):
    wide = np.random.default_rng(2).integers(0, 256, (2, 10, 20), np.uint8)
    expected = [plain_view(Image.fromarray(image), 16) for image in wide]
    for i, image in enumerate(wide):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    paths = [tmp_path / "0.png", str(tmp_path / "1.png")]
    for form in (wide, [Image.fromarray(image) for image in wide], paths):
        np.testing.assert_array_equal(to_images(form, 16), expected)
    assert to_images(paths).shape == (2, 28, 28)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 10, 20), np.uint8), "images of 10×20 pixels: only square"),
        (np.zeros((2, 785), np.uint8), r"images of shape \(2, 785\): should be"),
        (np.zeros((2, 9, 9, 4), np.uint8), r"images of shape \(2, 9, 9, 4\): should be"),
        (np.zeros((2, 2, 9, 9, 3), np.uint8), "images of shape"),
        ([IMAGES[0], IMAGES[1, 1:]], "images: arrays of different shapes; make them equal"),
    ],
)
def test_other_shapes_are_rejected(images, message):
    with pytest.raises(DataError, match=message):
        to_images(images)


@pytest.mark.parametrize("images", [IMAGES - 128.0, IMAGES % 2, np.full((2, 9, 9), np.nan)])
def test_other_values_are_rejected(images):
    with pytest.raises(UsageError, match="X_test: "):
        to_images(images, subject="X_test")


@pytest.mark.parametrize("images", ["folder", {"a": 1}, None, object(), [None], ["a.png", IMAGES]])
def test_other_types_are_rejected(images):
    with pytest.raises((UsageError, ImageError), match=r"of type|a\.png"):
        to_images(images)


def test_no_images_are_an_empty_array():
    assert to_images(np.empty((0, 9, 9))).shape == (0, 9, 9)


def test_color_is_kept_with_three_channels(tmp_path):
    np.testing.assert_array_equal(to_images(COLORS, channels=3), COLORS)
    np.testing.assert_array_equal(to_images(COLORS.transpose(0, 3, 1, 2), channels=3), COLORS)
    assert to_images(IMAGES, channels=3).shape == (3, 9, 9)
    assert to_images(COLORS[:2], 8, channels=3).shape == (2, 8, 8, 3)
    assert to_images([Image.fromarray(COLORS[0])], 8, channels=3).shape == (1, 8, 8, 3)
