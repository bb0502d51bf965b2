import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from fashioncnn.augmentation.geometry import transform_affine

from .garments import make_garments

N, SIZE = 12, 28


@pytest.fixture
def images():
    return make_garments(N).float()


def transform(images, **values):
    parameters = {name: torch.full((len(images),), float(v)) for name, v in values.items()}
    return transform_affine(images, parameters)


def reference(image, p):
    """Compose the inverse map in float64 and interpolate with SciPy."""
    cosine, sine = math.cos(p["rotation"]), math.sin(p["rotation"])
    matrix = np.diag([1 - 2 * p["flip"], 1])
    matrix = matrix @ [[cosine, -sine], [sine, cosine]] @ [[1, p["shear"]], [0, 1]]
    matrix = matrix * p["crop_scale"] / p["scale"]
    center = np.array([p["crop_x"], p["crop_y"]]) * (1 - p["crop_scale"])
    center -= np.array([p["shift_x"], p["shift_y"]]) * 2 / SIZE
    rows, columns = np.mgrid[:SIZE, :SIZE]
    target = np.stack([columns, rows]).reshape(2, -1) * 2 / SIZE + 1 / SIZE - 1
    x, y = matrix @ target + center[:, None]
    pixels = [((c + 1) * SIZE - 1) / 2 for c in (y, x)]
    values = map_coordinates(image.astype(np.float64), pixels, order=1, mode="grid-constant")
    return values.reshape(SIZE, SIZE)


def test_all_transforms_together_match_scipy(images):
    generator = np.random.default_rng(1)
    parameters = {
        "flip": generator.integers(0, 2, N),
        "shift_x": generator.integers(-4, 5, N),
        "shift_y": generator.integers(-4, 5, N),
        "crop_scale": generator.uniform(0.6, 1, N),
        "crop_x": generator.uniform(-1, 1, N),
        "crop_y": generator.uniform(-1, 1, N),
        "rotation": generator.uniform(-3, 3, N),
        "scale": generator.uniform(0.7, 1.4, N),
        "shear": generator.uniform(-0.5, 0.5, N),
    }
    tensors = {
        name: torch.tensor(values, dtype=torch.float32) for name, values in parameters.items()
    }
    result = transform_affine(images, tensors)
    for i in range(N):
        row = {name: values[i] for name, values in parameters.items()}
        np.testing.assert_allclose(result[i, 0], reference(images[i, 0].numpy(), row), atol=0.05)


def test_flip_reverses_columns(images):
    torch.testing.assert_close(transform(images, flip=1), images.flip(3), rtol=0, atol=1e-2)
    torch.testing.assert_close(transform(images, flip=0), images, rtol=0, atol=1e-2)


@pytest.mark.parametrize(("x", "y"), [(2, 0), (-3, 1), (0, -2)])
def test_positive_shift_moves_right_and_down_and_fills_with_black(images, x, y):
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    expected = padded[:, :, 4 - y : 4 - y + SIZE, 4 - x : 4 - x + SIZE]
    torch.testing.assert_close(transform(images, shift_x=x, shift_y=y), expected, rtol=0, atol=1e-1)


def test_rotation_by_90_degrees_is_exact(images):
    rotated = transform(images, rotation=math.pi / 2)
    torch.testing.assert_close(rotated, images.rot90(1, (2, 3)), rtol=0, atol=1e-1)


def test_scale_enlarges_about_the_center():
    image = torch.zeros(1, 1, SIZE, SIZE)
    image[..., 10:18, 12:16] = 100
    assert (transform(image, scale=2) > 50).sum() == 4 * 8 * 4
    assert (transform(image, scale=0.5) > 50).sum() == 8 * 4 / 4


@pytest.mark.parametrize(("x", "y"), [(-1, -1), (1, 1), (1, -1)])
def test_crop_at_a_corner_is_that_quadrant_enlarged(x, y):
    image = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    quadrant = image[..., :14, :] if y < 0 else image[..., 14:, :]
    quadrant = quadrant[..., :14] if x < 0 else quadrant[..., 14:]
    cropped = transform(image, crop_scale=0.5, crop_x=x, crop_y=y)
    enlarged = torch.nn.functional.interpolate(quadrant, size=SIZE, mode="bilinear")
    inside = (..., slice(2, -2), slice(2, -2))  # at the edges, pixels beyond the crop contribute
    torch.testing.assert_close(cropped[inside], enlarged[inside], rtol=0, atol=1e-4)


def test_shear_shifts_rows_in_proportion_to_their_height():
    image = torch.zeros(1, 1, SIZE, SIZE)
    image[..., 14] = 100
    columns = transform(image, shear=0.5)[0, 0].argmax(1)
    assert columns[4] - columns[24] == pytest.approx(10, abs=1)


def test_images_without_geometric_parameters_are_returned_unchanged(images):
    assert torch.equal(transform(images, brightness=0.5), images)
