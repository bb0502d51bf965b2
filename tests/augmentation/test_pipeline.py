"""Augmentation: what each does to images, and that it is a function of seed, epoch and index."""

import math

import pytest
import torch

from fashioncnn.augmentation import pipeline
from fashioncnn.augmentation.pipeline import Augmentation
from fashioncnn.settings import AugmentationConfig

N, SIDE = 40, 28

EACH = {
    "flip": 0.5,
    "shift": 3,
    "crop": 0.3,
    "rotation": 20.0,
    "scale": 0.2,
    "shear": 15.0,
    "brightness": 0.4,
    "contrast": 0.4,
    "blur": 1.0,
    "noise": 0.1,
    "erasing": 0.5,
    "cutout": 0.4,
}
MIXING = {"mixup": 0.5, "cutmix": 1.0}


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (N, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8)


def augmentation(**settings):
    return Augmentation(AugmentationConfig(**settings), seed=7, n=N)


def everything(given, images, indices, epoch=0):
    done = given(images[indices], indices, epoch)
    return given.mix(done, indices, epoch) if given.mixes else (done, None)


@pytest.mark.parametrize("settings", [{k: v} for k, v in EACH.items()] + [EACH], ids=str)
def test_a_image_is_augmented_alike_in_any_batch(images, settings):
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    together = augmentation(**settings)(images[order], order, 3)
    assert together.dtype == torch.float32
    assert together.shape == images.shape
    assert 0 <= together.min() <= together.max() <= 255
    for place in (0, 11, N - 1):
        index = order[place : place + 1]
        alone = augmentation(**settings)(images[index], index, 3)
        torch.testing.assert_close(alone[0], together[place], rtol=0, atol=1e-2)


@pytest.mark.parametrize("settings", [*({k: v} for k, v in (EACH | MIXING).items())], ids=str)
def test_seed_and_epoch_decide(images, settings):
    indices = torch.arange(N)
    given = augmentation(**settings)
    first, _ = everything(given, images, indices, 0)
    other, _ = everything(given, images, indices, 1)
    again, _ = everything(given, images, indices, 0)
    assert torch.equal(first, again)
    assert not torch.equal(first, other), "the next epoch is the same"
    seeded = Augmentation(AugmentationConfig(**settings), seed=8, n=N)
    assert not torch.equal(first, everything(seeded, images, indices)[0]), (
        "another seed is the same"
    )


def test_what_is_drawn_for_one_does_not_depend_on_the_others():
    alone = augmentation(rotation=20.0)._draw_table(2, torch.device("cpu"))
    among = augmentation(**EACH, **MIXING)._draw_table(2, torch.device("cpu"))
    assert torch.equal(alone["turn"], among["turn"])


def test_flip_mirrors_its_share(images):
    indices = torch.arange(N)
    all_of_them = augmentation(flip=1.0)(images, indices, 0)
    torch.testing.assert_close(all_of_them, images.flip(3).float(), rtol=0, atol=1e-2)
    half = augmentation(flip=0.5)(images, indices, 0)
    flipped = ((half - all_of_them).abs().amax((1, 2, 3)) < 1).sum().item()
    assert 10 < flipped < 30


def test_shift_moves_by_whole_pixels_and_lets_black_in(images):
    shifted = augmentation(shift=2)(images, torch.arange(N), 0)
    padded = torch.nn.functional.pad(images.float(), (2, 2, 2, 2))
    found = set()
    for before, after in zip(padded, shifted, strict=True):
        places = {
            (x, y)
            for x in range(5)
            for y in range(5)
            if torch.allclose(before[:, y : y + SIDE, x : x + SIDE], after, atol=1e-1)
        }
        assert len(places) == 1, "no crop of the padded image"
        found |= places
    assert len(found) > 12
    assert {x for x, _ in found} == {y for _, y in found} == set(range(5))


def warp(images, **drawn):
    columns = {name: torch.full((len(images),), float(v)) for name, v in drawn.items()}
    return pipeline._warp(images.float(), columns)


def test_a_quarter_turn_is_one(images):
    turned = warp(images, turn=math.pi / 2)
    torch.testing.assert_close(turned, images.float().rot90(1, (2, 3)), rtol=0, atol=1e-1)


def test_twice_the_size_is_the_middle_enlarged():
    image = torch.zeros(1, 1, SIDE, SIDE)
    image[..., 10:18, 12:16] = 100
    area = (warp(image, size=2) > 50).sum().item()
    assert area == 4 * 8 * 4
    assert (warp(image, size=0.5) > 50).sum().item() == 8 * 4 / 4


@pytest.mark.parametrize(("x", "y"), [(-1, -1), (1, 1), (1, -1)])
def test_a_crop_is_a_part_enlarged(x, y):
    image = torch.rand(1, 1, SIDE, SIDE)
    part = image[..., :14, :] if y < 0 else image[..., 14:, :]
    part = part[..., :14] if x < 0 else part[..., 14:]
    cropped = warp(image, part=0.5, part_x=x, part_y=y)
    enlarged = torch.nn.functional.interpolate(part, size=SIDE, mode="bilinear")
    inside = (..., slice(2, -2), slice(2, -2))  # at the edges neighbours of the part look in
    torch.testing.assert_close(cropped[inside], enlarged[inside], rtol=0, atol=1e-4)


def test_shear_moves_rows_by_their_height():
    image = torch.zeros(1, 1, SIDE, SIDE)
    image[..., 14] = 100
    sheared = warp(image, lean=0.5)
    columns = sheared[0, 0].argmax(1)
    assert columns[4] - columns[24] == pytest.approx(10, abs=1)


def test_brightness_multiplies_and_contrast_spreads():
    image = torch.tensor([50.0, 150.0]).view(1, 1, 1, 2)
    one = torch.ones(1)
    assert pipeline._tone(image, {"bright": 1.2 * one}).flatten().tolist() == pytest.approx(
        [60, 180]
    )
    assert pipeline._tone(image, {"bright": 2 * one}).flatten().tolist() == [100, 255]
    assert pipeline._tone(image, {"contrast": 0.5 * one}).flatten().tolist() == [75, 125]


def test_blur_is_a_gaussian_of_the_image_s_own():
    image = torch.zeros(3, 1, 21, 21)
    image[..., 10, 10] = 100
    blurred = pipeline._blur(image, torch.tensor([0.0, 1.0, 2.0]), 2.0)
    assert torch.equal(blurred[0], image[0])
    assert blurred.sum((1, 2, 3)).tolist() == pytest.approx([100, 100, 100], rel=1e-3)
    offsets = torch.arange(21.0) - 10
    for sigma, one in ((1, blurred[1, 0]), (2, blurred[2, 0])):
        variance = (one.sum(0) * offsets**2).sum() / 100
        assert variance.item() == pytest.approx(sigma**2, rel=0.03)


def test_noise_is_normal_and_different_for_every_pixel():
    images = torch.full((N, 1, SIDE, SIDE), 128, dtype=torch.uint8)
    given = augmentation(noise=0.1)
    noise = given(images, torch.arange(N), 0) - 128
    deviations = 255 * given._table["deviation"]
    standard = (noise / deviations.view(-1, 1, 1, 1)).flatten(1)
    assert standard.mean().item() == pytest.approx(0, abs=0.02)
    assert standard.std().item() == pytest.approx(1, abs=0.02)
    assert (standard.abs() > 2).float().mean().item() == pytest.approx(0.0455, abs=0.005)
    correlation = torch.corrcoef(standard)
    assert (correlation - torch.eye(N)).abs().max() < 0.2, "two images have the same noise"


def test_erasing_covers_rectangles_of_the_published_size():
    n = 2000
    images = torch.zeros(n, 1, SIDE, SIDE, dtype=torch.uint8)
    given = Augmentation(AugmentationConfig(erasing=0.5), seed=0, n=n)
    covered = (given(images, torch.arange(n), 0) > 0).float().mean((1, 2, 3))
    assert (covered > 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert covered.max() < 0.43
    assert covered[covered > 0].mean().item() == pytest.approx(0.21, abs=0.015)
    assert given(images, torch.arange(n), 0).max() > 250, "the values are not random ones"


def test_cutout_is_a_black_square():
    images = torch.full((N, 1, SIDE, SIDE), 255, dtype=torch.uint8)
    cut = augmentation(cutout=0.5)(images, torch.arange(N), 0) == 0
    high, reshape_per_image = cut.any(3).sum((1, 2)), cut.any(2).sum((1, 2))
    assert torch.equal(cut.sum((1, 2, 3)), high * reshape_per_image), "no rectangle"
    assert max(high.max(), reshape_per_image.max()) == 14
    assert min(high.min(), reshape_per_image.min()) >= 7


def test_mixup_blends_with_the_partner(images):
    indices = torch.arange(N)
    given = augmentation(mixup=1.0)
    plain = given(images, indices, 0)
    mixed, share = given.mix(plain, indices, 0)
    expected = share.view(-1, 1, 1, 1) * plain + (1 - share).view(-1, 1, 1, 1) * plain.flip(0)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-3)
    assert share.std() > 0.1


def test_cutmix_pastes_a_square_of_the_partner_and_tells_how_much_is_left():
    indices = torch.arange(N)
    plain = torch.arange(N).float().view(-1, 1, 1, 1).expand(N, 1, SIDE, SIDE)
    mixed, share = augmentation(cutmix=1.0).mix(plain, indices, 0)
    own = mixed == plain
    assert torch.equal(mixed[~own], plain.flip(0)[~own])
    torch.testing.assert_close(own.float().mean((1, 2, 3)), share)
    assert share.min() < 0.4
    assert share.max() > 0.9


def test_with_both_each_image_is_either_blended_or_pasted():
    indices = torch.arange(N)
    plain = torch.arange(N).float().view(-1, 1, 1, 1).expand(N, 1, SIDE, SIDE)
    mixed, _ = augmentation(**MIXING).mix(plain, indices, 0)
    pasted = torch.tensor([len(image.unique()) == 2 for image in mixed])
    assert 8 < pasted.sum() < 32
