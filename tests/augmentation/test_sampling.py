import pytest
import torch
import torch.nn.functional as F

from fashioncnn.augmentation.parameters import SAMPLES_PER_IMAGE
from fashioncnn.augmentation.sampling import Sampler

B, SIZE = 500, 28


@pytest.fixture
def sampler():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(B, SAMPLES_PER_IMAGE, generator=generator)
    return Sampler(values, torch.randint(2**32, (B,), generator=generator), SIZE)


def test_uniform_scales_one_new_column_per_call(sampler):
    first, second = sampler.uniform(-2, 3), sampler.uniform(0, 1)
    torch.testing.assert_close(first, 5 * sampler.values[:, 0] - 2)
    assert torch.equal(second, sampler.values[:, 1])


def test_bernoulli_is_one_with_probability_p(sampler):
    values = sampler.bernoulli(0.2)
    assert torch.equal(values, (sampler.values[:, 0] < 0.2).float())


def test_random_sign_is_negative_with_probability_p(sampler):
    values = sampler.random_sign(0.2)
    assert torch.equal(values, torch.where(sampler.values[:, 0] < 0.2, -1.0, 1.0))


def test_more_scalars_than_columns_raise(sampler):
    with pytest.raises(IndexError):
        for _ in range(SAMPLES_PER_IMAGE + 1):
            sampler.uniform(0, 1)


def test_smooth_noise_interpolates_a_grid_of_normal_values(sampler):
    noise = sampler.smooth_noise(4)
    assert noise.shape == (B, 1, SIZE, SIZE)
    corners = noise[:, 0, ::27, ::27].flatten()
    assert corners.mean().item() == pytest.approx(0, abs=0.08)
    assert corners.std().item() == pytest.approx(1, abs=0.08)
    grid = noise[:, :, ::9, ::9]  # the corners are aligned, so 4 of 28 positions are grid points
    expected = F.interpolate(grid, (SIZE, SIZE), mode="bicubic", align_corners=True)
    torch.testing.assert_close(noise, expected, rtol=0, atol=1e-4)


def test_pixel_noise_is_standard_normal_and_uncorrelated(sampler):
    noise = sampler.pixel_noise()
    assert noise.shape == (B, 1, SIZE, SIZE)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    assert (noise[..., 1:] * noise[..., :-1]).mean().item() == pytest.approx(0, abs=0.01)


def test_each_field_has_new_values(sampler):
    fields = [sampler.pixel_noise(), sampler.pixel_noise(), sampler.smooth_noise(28)]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        product = fields[first] * fields[second]
        assert product.mean().item() == pytest.approx(0, abs=0.02)


def test_textures_have_four_kinds_and_a_standard_deviation_near_one(sampler):
    texture = sampler.texture()
    kind = (4 * sampler.values[:, 0]).floor()
    two_tones = torch.tensor([len(image.unique()) == 2 for image in texture])
    assert torch.equal(two_tones, kind < 2), "stripes and checks have two tones, blobs have more"
    for number in range(4):
        assert texture[kind == number].std().item() == pytest.approx(1, abs=0.25)


def test_samplers_of_rows_have_the_values_of_these_rows_and_their_own_keys():
    parameters = {
        "photograph_params": torch.rand(5, SAMPLES_PER_IMAGE),
        "outlier_params": torch.rand(5, SAMPLES_PER_IMAGE),
        "noise_key": torch.arange(5),
    }
    rows = torch.tensor([3, 1])
    photograph = Sampler.of_rows(parameters, "photograph_params", rows, SIZE)
    outlier = Sampler.of_rows(parameters, "outlier_params", rows, SIZE)
    assert torch.equal(photograph.values, parameters["photograph_params"][rows])
    assert torch.equal(outlier.values, parameters["outlier_params"][rows])
    assert not (photograph.key == outlier.key).any()
    assert photograph.key[0] != photograph.key[1]
