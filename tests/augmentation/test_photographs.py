import numpy as np
import pytest
import torch

from fashioncnn.augmentation.noise import normal_field, uniform_field
from fashioncnn.augmentation.photographs import VISIBLE, ClassTraits, _lay_out, _spread_sleeves
from fashioncnn.augmentation.pipeline import Augmentation
from fashioncnn.augmentation.sampling import Sampler
from fashioncnn.settings import AugmentationConfig


@pytest.fixture
def shown(sketches):
    images = torch.from_numpy(sketches.train.images[:64].copy()).unsqueeze(1)
    return images, torch.arange(64)


def traits(**known):
    """Of 64 garments, of which nothing else is known."""
    return ClassTraits(
        **{name: torch.zeros(64) > 0 for name in ("paired", "sleeved", "broad")} | known
    )


def augment(shown, share=1.0, epoch=0, **known):
    images, indices = shown
    given = Augmentation(AugmentationConfig(photograph=share), 3, 64, traits(**known))
    return given(images.clone(), indices, epoch)


def test_images_change_alike_in_any_batch(shown):
    images, indices = shown
    paired = indices % 2 == 0
    whole = augment(shown, paired=paired)
    some = torch.tensor([5, 40, 2])
    given = Augmentation(AugmentationConfig(photograph=1.0), 3, 64, traits(paired=paired))
    torch.testing.assert_close(given(images[some], some, 0), whole[some])
    assert not torch.equal(augment(shown, epoch=1), whole)
    assert torch.equal(augment(shown, paired=paired), whole)


def test_only_the_share_that_is_asked_for_changes(shown):
    changed = (augment(shown, 0.5) != shown[0]).flatten(1).any(1)
    assert 0.3 < changed.float().mean() < 0.7


def test_what_comes_out_is_a_image(shown):
    seen = augment(shown)
    assert seen.shape == (64, 1, 28, 28)
    assert seen.dtype == torch.float32
    assert seen.isfinite().all()
    assert seen.min() >= 0
    assert seen.max() <= 255
    lightness = seen.flatten(1).amax(1)
    assert (lightness > 20).all(), "none is black"
    assert lightness.std() > 20, "tones differ"


def test_sleeves_are_spread_where_there_may_be_some():
    """A column beside the trunk, as a sleeve hangs: spread, it reaches further out."""
    garment = torch.zeros(64, 1, 28, 28, dtype=torch.uint8)
    garment[:, :, 4:26, 10:18] = 150  # the trunk
    garment[:, :, 4:26, 4:8] = garment[:, :, 4:26, 20:24] = 250
    shown, every = (garment, torch.arange(64)), torch.ones(64) > 0
    hanging, laid = (augment(shown, sleeved=sleeved) for sleeved in (~every, every))
    differ = (hanging != laid).flatten(1).any(1)
    assert 0.4 < differ.float().mean() < 0.8
    spread = _spread_sleeves(
        garment / 255, every, Sampler(torch.full((64, 96), 0.5), every.long(), 28)
    )
    across = (spread > VISIBLE).any(2).sum(2).float().mean()
    assert across > 20, "wider than the trunk and two sleeves beside it, though all became smaller"
    trunk = spread[:, 0, 13, 14]
    torch.testing.assert_close(trunk, torch.full((64,), 150 / 255))


def test_what_is_worn_in_folds_lies_broader():
    garment = torch.zeros(64, 1, 28, 28, dtype=torch.uint8)
    garment[:, :, 2:26, 11:17] = 200
    straight = torch.zeros(64) > 0
    sampler = torch.full((64, 96), 0.5)
    narrow, broad = (
        _lay_out(garment / 255, some, Sampler(sampler, straight.long(), 28))
        for some in (straight, ~straight)
    )
    across = [(laid > VISIBLE).any(2).sum().item() for laid in (narrow, broad)]
    assert across[1] > 1.15 * across[0]


def test_a_share_lies_whole_before_a_background(shown):
    edges = torch.ones(28, 28)
    edges[1:-1, 1:-1] = 0
    seen = augment(shown)[:, 0] * edges
    filled = (seen.sum((1, 2)) / edges.sum() > 30).float().mean()
    assert 0.2 < filled < 0.6


def test_black_images_are_no_fault():
    black = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
    given = Augmentation(
        AugmentationConfig(photograph=1.0), 0, 4, ClassTraits(*[torch.ones(4) > 0] * 3)
    )
    assert given(black, torch.arange(4), 0).isfinite().all()


def test_most_of_what_comes_in_pairs_is_paired_and_nothing_else(shown):
    single, paired = (augment(shown, paired=torch.full((64,), p)) for p in (False, True))
    differ = (single != paired).flatten(1).any(1)
    assert 0.6 < differ.float().mean() < 0.9
    some = torch.arange(64) < 32
    torch.testing.assert_close(augment(shown, paired=some)[32:], single[32:])
    torch.testing.assert_close(augment(shown, paired=some)[:32], paired[:32])


def test_noise_is_a_function_of_its_key_and_stream():
    key = torch.tensor([1, 2, 2**32 - 1])
    values = uniform_field(key, 10_000, 7)
    assert torch.equal(values[1:2], uniform_field(key[1:2], 10_000, 7))
    assert not torch.equal(values, uniform_field(key, 10_000, 8))
    assert values.min() > 0
    assert values.max() < 1
    assert values.mean(1).numpy() == pytest.approx([0.5] * 3, abs=0.01)
    assert np.abs(np.corrcoef(values.numpy()) - np.eye(3)).max() < 0.05
    normal = normal_field(key, 10_000, 3)
    assert normal.mean(1).numpy() == pytest.approx([0] * 3, abs=0.05)
    assert normal.std(1).numpy() == pytest.approx([1] * 3, abs=0.03)
