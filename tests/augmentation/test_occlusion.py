import pytest
import torch

from fashioncnn.augmentation.occlusion import cutout, erase
from fashioncnn.augmentation.parameters import draw_parameters
from fashioncnn.settings import AugmentationConfig

N, SIZE = 2000, 28


@pytest.fixture(scope="module")
def parameters():
    drawn = draw_parameters(AugmentationConfig(erasing=0.5, cutout=0.5), 0, 0, N)
    return {name: torch.from_numpy(values) for name, values in drawn.items()}


def covered_box(mask):
    """Return height and width of the bounding box of each (n, 1, size, size) mask."""
    return mask.any(3).sum((1, 2)), mask.any(2).sum((1, 2))


def test_erasing_covers_one_rectangle_of_the_drawn_area_and_aspect(parameters):
    erased = erase(torch.zeros(N, 1, SIZE, SIZE), parameters) > 0
    flagged = parameters["erasing"] > 0
    assert torch.equal(erased.flatten(1).any(1), flagged)
    height, width = covered_box(erased)
    assert torch.equal(erased.sum((1, 2, 3)), height * width)
    area, aspect = parameters["erasing_area"], parameters["erasing_aspect"]
    for pixels, side in ((height, (area * aspect).sqrt()), (width, (area / aspect).sqrt())):
        assert ((pixels - SIZE * side.clamp(max=1)).abs() <= 1)[flagged].all()


def test_erased_pixels_are_uniform_random_values(parameters):
    images = erase(torch.zeros(N, 1, SIZE, SIZE), parameters)
    values = images[images > 0]
    quantiles = torch.quantile(values[:100_000], torch.tensor([0.01, 0.25, 0.5, 0.75, 0.99]))
    assert quantiles.tolist() == pytest.approx([2.55, 63.75, 127.5, 191.25, 252.45], abs=2)


def test_zero_fill_erases_the_same_pixels_to_black(parameters):
    images = torch.full((N, 1, SIZE, SIZE), 255.5)
    noise, zero = erase(images, parameters), erase(images, parameters, "zero")
    assert torch.equal(zero == 0, noise != images)
    assert torch.equal(zero[zero != 0], images[zero != 0])


def test_cutout_sets_one_square_to_black(parameters):
    images = torch.full((N, 1, SIZE, SIZE), 255.0)
    black = cutout(images, parameters["cutout_x"], parameters["cutout_y"], 0.5) == 0
    height, width = covered_box(black)
    assert torch.equal(black.sum((1, 2, 3)), height * width)
    assert height.max() == width.max() == 14
    assert height.min() >= 7, "the center is inside the image"


def test_cutout_is_centered_on_the_given_position():
    black = cutout(torch.ones(1, 1, 8, 8), torch.tensor([0.25]), torch.tensor([0.75]), 0.25) == 0
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[5:7, 1:3] = True
    assert torch.equal(black[0, 0], expected)
