import pytest
import torch

from fashioncnn.augmentation.mixing import mix
from fashioncnn.augmentation.parameters import draw_parameters
from fashioncnn.settings import AugmentationConfig

N, SIZE = 40, 28


@pytest.fixture
def images():
    """Image i has the value i everywhere, so that its pixels are recognized in mixtures."""
    return torch.arange(N).float().view(-1, 1, 1, 1).expand(N, 1, SIZE, SIZE)


def draw(**settings):
    drawn = draw_parameters(AugmentationConfig(**settings), 7, 0, N)
    return {name: torch.from_numpy(values) for name, values in drawn.items()}


def test_mixup_interpolates_with_the_reversed_batch(images):
    parameters = draw(mixup=1.0)
    mixed, weights = mix(images, parameters)
    own = parameters["mixup_lambda"].view(-1, 1, 1, 1)
    expected = own * images + (1 - own) * images.flip(0)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(weights, parameters["mixup_lambda"])


def test_cutmix_pastes_a_square_of_the_partner_and_weights_by_area(images):
    parameters = draw(cutmix=1.0)
    mixed, weights = mix(images, parameters)
    pasted = mixed != images
    assert torch.equal(mixed[pasted], images.flip(0)[pasted])
    height, width = pasted.any(3).sum((1, 2)), pasted.any(2).sum((1, 2))
    assert torch.equal(pasted.sum((1, 2, 3)), height * width)
    torch.testing.assert_close(1 - pasted.float().mean((1, 2, 3)), weights)
    side = (1 - parameters["cutmix_lambda"]).sqrt() * SIZE
    assert (torch.maximum(height, width) <= side + 1).all()
    assert weights.min() < 0.4
    assert weights.max() > 0.9


def test_both_together_apply_one_of_them_to_each_image(images):
    parameters = draw(mixup=0.5, cutmix=1.0)
    mixed, weights = mix(images, parameters)
    use_cutmix = parameters["use_cutmix"].view(-1, 1, 1, 1) > 0
    only_cutmix = {name: v for name, v in parameters.items() if name.startswith("cutmix")}
    only_mixup = {"mixup_lambda": parameters["mixup_lambda"]}
    expected = torch.where(use_cutmix, mix(images, only_cutmix)[0], mix(images, only_mixup)[0])
    assert torch.equal(mixed, expected)
    assert 0.2 < use_cutmix.float().mean() < 0.8
    assert weights.shape == (N,)
