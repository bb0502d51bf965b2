import pytest
import torch

from fashioncnn.augmentation.outlier_exposure import LOWER, UPPER, WHOLE
from fashioncnn.augmentation.pipeline import Augmentation
from fashioncnn.settings import AugmentationConfig

N = 200


def augment(images, share, parts=None, indices=None):
    given = Augmentation(AugmentationConfig(outlier_exposure=share), 1, N, parts=parts)
    indices = torch.arange(N) if indices is None else indices
    return given(images[indices], indices, 0), given.outside(indices, 0)


@pytest.fixture
def garment():
    """A bar from top to bottom, like trousers or a dress."""
    images = torch.zeros(N, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 1:27, 10:18] = 200
    return images


def test_a_share_is_replaced_and_told(garment):
    seen, outside = augment(garment, 0.3)
    assert 0.2 < outside.float().mean() < 0.4
    same = (seen == garment).flatten(1).all(1)
    assert same[~outside].all()
    assert not same[outside].any()


def test_images_are_replaced_alike_in_any_batch(garment):
    whole, outside = augment(garment, 0.5)
    some = torch.tensor([150, 3, 77])
    seen, told = augment(garment, 0.5, indices=some)
    torch.testing.assert_close(seen, whole[some])
    assert torch.equal(told, outside[some])


def test_what_comes_out_is_a_image(garment):
    seen, _ = augment(garment, 0.999)
    assert seen.isfinite().all()
    assert 0 <= seen.min() < seen.max() <= 255


@pytest.mark.parametrize(("part", "kept"), [(UPPER, 4), (LOWER, 23)])
def test_trousers_become_shorts_and_dresses_skirts(garment, part, kept):
    def cut(parts):
        seen, outside = augment(garment, 0.999, torch.full((N,), parts))
        bar = seen[:, 0, :, 13] == 200
        return (bar[:, kept] & ~bar[:, 27 - kept])[outside].float().mean()

    assert cut(part) > 0.6
    assert cut(WHOLE) < 0.3


def test_none_where_none_are_asked_for(garment):
    seen, outside = augment(garment, 0.0)
    assert outside is None
    assert torch.equal(seen, garment.float())
