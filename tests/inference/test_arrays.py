"""Arrays, tensors, PIL images and paths of users as views."""

import numpy as np
import pytest
import torch
from PIL import Image

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.errors import ImageError, UsageError
from fashioncnn.inference.arrays import as_images, as_views

FASHION = Preprocessing(28, 0.0, 1.0, "fashion")
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
IMAGE = IMAGES[0]


@pytest.mark.parametrize(
    "form",
    [
        IMAGE,
        IMAGE[None],
        IMAGE[None, None],
        IMAGE[None, ..., None],
        IMAGE.astype(np.int64),
        IMAGE / 255,
        (IMAGE / 255).astype(np.float32),
        torch.from_numpy(IMAGE),
        torch.from_numpy(IMAGE)[None, None] / 255,
        (torch.from_numpy(IMAGE) / 255).double(),
        (torch.from_numpy(IMAGE) / 255).requires_grad_(),
        Image.fromarray(IMAGE),
        [IMAGE],
        (Image.fromarray(IMAGE),),
    ],
    ids=lambda form: f"{type(form).__name__} {getattr(form, 'dtype', '')}",
)
def test_forms_of_one_image_are_equal(form):
    np.testing.assert_array_equal(as_images(form, FASHION), IMAGE[None])


def test_bfloat16_tensors_are_accepted():
    tensor = torch.tensor([[0.0, 1.0], [0.5, 0.25]], dtype=torch.bfloat16)
    (views,) = as_views(tensor, Preprocessing(2, 0.0, 1.0, "fashion"))
    np.testing.assert_array_equal(views, [[[0, 255], [128, 64]]])


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_files_are_read(kind, tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    np.testing.assert_array_equal(as_images(kind(tmp_path / "a.png"), FASHION), IMAGE[None])
    with pytest.raises(ImageError, match=r"b\.png"):
        as_views(kind(tmp_path / "b.png"), FASHION)


def test_sequences_of_different_types_keep_their_order():
    mixed = [Image.fromarray(IMAGES[0]), IMAGES[1], [IMAGES[2:4]], torch.from_numpy(IMAGES[4])]
    np.testing.assert_array_equal(as_images(mixed, FASHION), IMAGES)
    assert as_images([], FASHION).shape == (0, 28, 28)


def test_arrays_of_the_image_size_are_one_unchanged_view():
    for mode in ("fashion", "photo", "cutout"):
        (views,) = as_views(IMAGE, Preprocessing(28, 0.0, 1.0, mode))
        np.testing.assert_array_equal(views, IMAGE[None])


def test_other_arrays_are_converted_like_files(tmp_path):
    large = np.zeros((100, 60), np.uint8)
    large[20:80, 20:40] = 255
    Image.fromarray(large).save(tmp_path / "a.png")
    of_array, of_file = (as_images(form, FASHION) for form in (large, tmp_path / "a.png"))
    np.testing.assert_array_equal(of_array, of_file)
    assert of_array.shape == (1, 28, 28)


def test_photographs_have_several_views():
    photograph = Image.fromarray(np.full((60, 80, 3), 200, np.uint8))
    (views,) = as_views(photograph, Preprocessing(28, 0.0, 1.0, "photo"))
    assert len(views) > 3
    assert as_images(photograph, Preprocessing(28, 0.0, 1.0, "photo")).shape == (1, 28, 28)


@pytest.mark.parametrize(
    "invalid",
    [
        np.zeros(28),
        np.zeros((2, 3, 28, 28)),
        np.zeros((28, 28, 3), np.uint8),
        np.zeros((28, 28, 1), np.uint8),  # one image as in Keras, or 28 narrow ones
        np.zeros((28, 28, 4)),
        np.zeros((0, 0)),
        np.full((28, 28), 300),
        np.full((28, 28), -1.0),
        np.full((28, 28), 2.0),
        np.full((28, 28), np.nan),
        np.full((28, 28), "a"),
        np.full((28, 28), 1j),
        {"a": 1},
        b"bytes",
        7,
    ],
    ids=lambda value: f"{getattr(value, 'shape', value)} {getattr(value, 'dtype', '')}",
)
def test_unsupported_inputs_are_rejected_in_one_line(invalid):
    with pytest.raises(UsageError, match=r"should be|images of type") as caught:
        as_views(invalid, FASHION)
    assert "\n" not in str(caught.value)
