import contextlib
from collections import deque
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.data.pixels import to_images
from fashioncnn.errors import DataError, ImageError, UsageError
from fashioncnn.images.views import plain_view
from fashioncnn.inference.arrays import as_images

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


def test_contents_of_files_are_images(tmp_path):
    """As for predictions; files have a method `detach`, as tensors do, which must not be called."""
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, IMAGES, strict=True):
        Image.fromarray(image).save(path)
    contents = [path.read_bytes() for path in paths]
    expected = to_images(paths, 9)
    np.testing.assert_array_equal(expected, IMAGES)
    buffers, at_end = [BytesIO(content) for content in contents], [*map(BytesIO, contents)]
    at_end[0].seek(5)
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(path.open("rb")) for path in paths]
        mixed = [contents[0], buffers[1], paths[2]]
        for form in (
            contents,
            [bytearray(contents[0]), *contents[1:]],
            buffers,
            at_end,
            files,
            mixed,
        ):
            np.testing.assert_array_equal(to_images(form, 9), expected)
        assert not any(file.closed for file in (*files, *buffers))
        with pytest.raises(UsageError, match="should be an array of numbers"):
            to_images(files[0])
        assert files[0].read(0) == b""  # not detached
    with pytest.raises(ImageError, match="image 1: not a"):
        to_images([contents[0], b"text"])
    message = r"2 image files cannot be read; .*: image 0: BytesIO: not a .*; image 2: not a"
    with pytest.raises(ImageError, match=message):
        to_images([BytesIO(b"text"), contents[0], b"text"])


@pytest.mark.parametrize(
    "form",
    [
        iter,
        deque,
        lambda x: np.array(x, object),
        lambda x: np.array([str(one) for one in x]),
        lambda x: np.array([str(one) for one in x], np.dtypes.StringDType()),
    ],
    ids=["iterator", "deque", "objects", "strings", "StringDType"],
)
def test_paths_in_every_container_are_read(form, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, image in zip(paths, IMAGES, strict=True):
        Image.fromarray(image).save(path)
    np.testing.assert_array_equal(to_images(form(paths), 9), IMAGES)


@pytest.mark.parametrize("form", [iter, lambda x: (one for one in x), lambda x: map(np.array, x)])
def test_iterators_are_read_once(form):
    np.testing.assert_array_equal(to_images(form(IMAGES)), IMAGES)


@pytest.mark.parametrize("channels", [1, 3])
def test_transparency_is_that_of_pillow(channels):
    """(n, height, width, 4) is RGBA, as for predictions."""
    images = np.random.default_rng(3).integers(0, 256, (4, 9, 9, 4), np.uint8)
    expected = to_images([Image.fromarray(image) for image in images], 9, channels=channels)
    np.testing.assert_array_equal(to_images(images, channels=channels), expected)
    preprocessing = Preprocessing(9, 0.5, 0.5, "plain", channels)
    np.testing.assert_array_equal(as_images(images, preprocessing), expected)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 10, 20), np.uint8), "images of 10×20 pixels: only square"),
        (np.zeros((2, 785), np.uint8), r"images of shape \(2, 785\): should be"),
        (np.zeros((2, 9, 9, 5), np.uint8), r"images of shape \(2, 9, 9, 5\): should be"),
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


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_several_kinds_are_converted_one_by_one(channels, tmp_path):
    """As a prediction does it; before, only paths, PIL images and contents could be mixed."""
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    kinds = [
        tmp_path / "a.png",
        (tmp_path / "a.png").read_bytes(),
        Image.fromarray(image),
        image,
        torch.from_numpy(image).permute(2, 0, 1) / 255,
        np.dstack([image, np.full((28, 28), 255, np.uint8)]),
    ]
    expected = to_images(image[None], channels=channels)
    for form in (kinds, kinds[::-1], np.array([*kinds, None], object)[:-1], iter(kinds)):
        images = to_images(form, channels=channels)
        np.testing.assert_array_equal(images, np.repeat(expected, len(kinds), axis=0))


def test_size_of_arrays_beside_files_is_kept(tmp_path):
    Image.new("L", (9, 9), 7).save(tmp_path / "a.png")
    images = [np.full((40, 40), 7, np.uint8), tmp_path / "a.png"]
    assert to_images(images).shape == (2, 40, 40)
    assert to_images(images, 12).shape == (2, 12, 12)
    for other in (np.zeros((41, 41), np.uint8), np.zeros((40, 20), np.uint8)):
        with pytest.raises(DataError, match="different shapes beside image files; set image_size"):
            to_images([*images, other])
    with pytest.raises(UsageError, match="image 1 of type NoneType"):
        to_images([tmp_path / "a.png", None], 28)
