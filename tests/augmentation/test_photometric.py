import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from fashioncnn.augmentation.photometric import (
    add_gaussian_noise,
    adjust_brightness,
    adjust_contrast,
    gaussian_blur,
)

from .garments import make_garments

N = 40
FACTORS = torch.linspace(0, 2, N)


@pytest.fixture
def images():
    return make_garments(N).float()


def test_brightness_matches_the_formula_of_color_jitter(images):
    expected = (FACTORS.view(-1, 1, 1, 1) * images).clamp(0, 255)
    torch.testing.assert_close(adjust_brightness(images, FACTORS), expected)


def test_contrast_matches_the_formula_of_color_jitter(images):
    factor, mean = FACTORS.view(-1, 1, 1, 1), images.mean((1, 2, 3), keepdim=True)
    expected = (factor * images + (1 - factor) * mean).clamp(0, 255)
    torch.testing.assert_close(adjust_contrast(images, FACTORS), expected, rtol=0, atol=1e-3)


def test_blur_matches_scipy_with_a_sigma_per_image(images):
    sigmas = torch.linspace(0, 2, N)
    blurred = gaussian_blur(images, sigmas, 2.0)
    for image, sigma, result in zip(images, sigmas.tolist(), blurred, strict=True):
        expected = image[0].numpy().astype(np.float64)
        if sigma > 0:
            for axis in (0, 1):
                expected = gaussian_filter1d(expected, sigma, axis, mode="nearest", radius=6)
        np.testing.assert_allclose(result[0], expected, atol=1e-3)


def test_blur_kernel_covers_three_standard_deviations():
    image = torch.zeros(1, 1, 41, 41)
    image[..., 20, 20] = 1
    blurred = gaussian_blur(image, torch.tensor([2.0]), 2.0)
    assert (blurred[0, 0] > 0).any(0).nonzero().flatten().tolist() == list(range(14, 27))
    assert blurred.sum().item() == pytest.approx(1, abs=1e-5)


def test_noise_is_normal_with_a_standard_deviation_per_image(images):
    std = torch.linspace(0.01, 0.2, N)
    noise = add_gaussian_noise(images, std, torch.arange(N)) - images
    standardized = (noise / (255 * std).view(-1, 1, 1, 1)).flatten(1)
    assert standardized.mean().item() == pytest.approx(0, abs=0.02)
    assert standardized.std(1).numpy() == pytest.approx(np.ones(N), abs=0.1)
    assert (standardized.abs() > 2).float().mean().item() == pytest.approx(0.0455, abs=0.005)
    correlation = torch.corrcoef(standardized) - torch.eye(N)
    assert correlation.abs().max() < 0.2, "images with different keys have the same noise"
