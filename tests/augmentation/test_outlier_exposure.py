import pytest
import torch

from fashioncnn.augmentation.outlier_exposure import LOWER, UPPER, WHOLE, generate_outliers
from fashioncnn.augmentation.parameters import SAMPLES_PER_IMAGE, draw_parameters
from fashioncnn.augmentation.sampling import Sampler
from fashioncnn.settings import AugmentationConfig

N, SIZE = 300, 28


@pytest.fixture
def garment():
    """A bar from top to bottom, like trousers or a dress."""
    images = torch.zeros(N, 1, SIZE, SIZE)
    images[:, :, 1:27, 10:18] = 200
    return images


def generate(images, partial_garment):
    drawn = draw_parameters(AugmentationConfig(outlier_exposure=0.5), 1, 0, N)
    sampler = Sampler(
        torch.from_numpy(drawn["outlier_params"]), torch.from_numpy(drawn["noise_key"]), SIZE
    )
    return generate_outliers(images, torch.full((N,), partial_garment), sampler)


def test_outliers_are_valid_images_that_differ_from_their_source(garment):
    outliers = generate(garment, WHOLE)
    assert outliers.shape == garment.shape
    assert outliers.dtype == torch.float32
    assert outliers.isfinite().all()
    assert 0 <= outliers.min() < outliers.max() <= 255
    assert (outliers != garment).flatten(1).any(1).all()


def test_generation_does_not_read_values_back_to_the_host():
    """Meta tensors have no values: branching on one, or mixing devices, raises."""
    values = torch.empty(N, SAMPLES_PER_IMAGE, device="meta")
    sampler = Sampler(values, torch.empty(N, dtype=torch.int64, device="meta"), SIZE)
    images = torch.empty(N, 1, SIZE, SIZE, device="meta")
    halves = torch.empty(N, dtype=torch.int64, device="meta")
    assert generate_outliers(images, halves, sampler).device.type == "meta"


@pytest.mark.parametrize(("partial_garment", "kept_row"), [(UPPER, 4), (LOWER, 23)])
def test_most_partial_garments_keep_only_their_half(garment, partial_garment, kept_row):
    def fraction_of_halves(partial_garment):
        bar = generate(garment, partial_garment)[:, 0, :, 13] == 200
        return (bar[:, kept_row] & ~bar[:, 27 - kept_row]).float().mean()

    assert 0.6 < fraction_of_halves(partial_garment) < 0.8
    assert fraction_of_halves(WHOLE) < 0.1


def test_three_in_ten_outliers_are_enlarged_fabric():
    fabric = torch.full((N, 1, SIZE, SIZE), 200.0)  # a section of it is the same fabric
    enlarged = (generate(fabric, WHOLE) - 200).abs().amax((1, 2, 3)) < 1e-2
    assert enlarged.float().mean().item() == pytest.approx(0.3, abs=0.08)


def test_synthetic_outliers_vary_from_empty_to_full():
    outliers = generate(torch.zeros(N, 1, SIZE, SIZE), WHOLE)
    visible = (outliers > 0).float().mean((1, 2, 3))
    assert (visible == 0).any()
    assert (visible > 0.99).any()
    assert ((visible > 0.2) & (visible < 0.8)).float().mean() > 0.2
