import pytest
import torch

from fashioncnn.augmentation.parameters import SAMPLES_PER_IMAGE, draw_parameters
from fashioncnn.augmentation.photographs import ClassTraits, render_photographs
from fashioncnn.augmentation.poses import VISIBLE, arrange_pairs, deform, spread_sleeves, warp
from fashioncnn.augmentation.sampling import Sampler
from fashioncnn.settings import AugmentationConfig

from .garments import make_garments

N, SIZE = 128, 28
NONE, ALL = torch.zeros(N) > 0, torch.ones(N) > 0


@pytest.fixture(scope="module")
def garments():
    return make_garments(N).float()


def random_sampler():
    drawn = draw_parameters(AugmentationConfig(photograph=1.0), 3, 0, N)
    return Sampler(
        torch.from_numpy(drawn["photograph_params"]), torch.from_numpy(drawn["noise_key"]), SIZE
    )


def median_sampler():
    """A sampler whose scalars are the middle of their range."""
    return Sampler(torch.full((N, SAMPLES_PER_IMAGE), 0.5), torch.arange(N), SIZE)


def render(images, has_pair=NONE, has_sleeves=NONE, drapes=NONE):
    return render_photographs(images, ClassTraits(has_pair, has_sleeves, drapes), random_sampler())


def visible_width(images):
    return (images > VISIBLE).any(2).sum((1, 2)).float()


def test_photographs_are_valid_images_of_different_tones(garments):
    result = render(garments)
    assert result.shape == (N, 1, SIZE, SIZE)
    assert result.dtype == torch.float32
    assert result.isfinite().all()
    assert 0 <= result.min() < result.max() <= 255
    brightest = result.flatten(1).amax(1)
    assert (brightest > 20).all(), "an image is black"
    assert brightest.std() > 20


def test_black_images_are_rendered_without_invalid_values():
    result = render(torch.zeros(N, 1, SIZE, SIZE), ALL, ALL, ALL)
    assert result.isfinite().all()


def test_rendering_does_not_read_values_back_to_the_host():
    """Meta tensors have no values: branching on one, or mixing devices, raises."""
    values = torch.empty(N, SAMPLES_PER_IMAGE, device="meta")
    sampler = Sampler(values, torch.empty(N, dtype=torch.int64, device="meta"), SIZE)
    images = torch.empty(N, 1, SIZE, SIZE, device="meta")
    traits = ClassTraits(*(NONE.to("meta") for _ in range(3)))
    assert render_photographs(images, traits, sampler).device.type == "meta"


def test_about_a_third_of_the_images_have_a_background(garments):
    border = torch.ones(SIZE, SIZE, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    bright_border = render(garments)[:, 0, border].mean(1) > 30
    assert 0.2 < bright_border.float().mean() < 0.5


def test_most_shoes_are_arranged_in_pairs_and_nothing_else_is(garments):
    single, paired = render(garments), render(garments, has_pair=ALL)
    changed = (single != paired).flatten(1).any(1)
    assert 0.6 < changed.float().mean() < 0.9
    first_half = torch.arange(N) < N // 2
    mixed = render(garments, has_pair=first_half)
    torch.testing.assert_close(mixed, torch.where(first_half.view(-1, 1, 1, 1), paired, single))


def test_pairs_cover_more_area_than_a_single_shoe_of_the_same_scale():
    shoe = torch.zeros(N, 1, SIZE, SIZE)
    shoe[:, :, 11:17, 6:22] = 0.8
    area = (shoe > VISIBLE).float().sum((1, 2, 3))
    paired = (arrange_pairs(shoe, ALL, median_sampler()) > VISIBLE).float().sum((1, 2, 3))
    scale_x, scale_y = 0.775, 0.775 * 0.875  # middle of their ranges
    assert (paired > 1.3 * scale_x * scale_y * area).all()


def test_spread_sleeves_reach_further_out_and_keep_the_trunk():
    """A column beside the trunk hangs as a sleeve does; rotated, it reaches further out."""
    garment = torch.zeros(N, 1, SIZE, SIZE)
    garment[:, :, 4:26, 10:18] = 0.6  # trunk
    garment[:, :, 4:26, 4:8] = garment[:, :, 4:26, 20:24] = 1.0
    spread = spread_sleeves(garment, ALL, median_sampler())
    assert visible_width(spread).mean() > 20, "not wider than the garment, although scaled down"
    torch.testing.assert_close(spread[:, 0, 13, 14], torch.full((N,), 0.6))
    changed = (spread_sleeves(garment, ALL, random_sampler()) != garment).flatten(1).any(1)
    assert 0.45 < changed.float().mean() < 0.75
    assert torch.equal(spread_sleeves(garment, NONE, random_sampler()), garment)


def test_draped_garments_become_wider():
    garment = torch.zeros(N, 1, SIZE, SIZE)
    garment[:, :, 2:26, 8:20] = 0.8
    narrow, wide = (deform(garment, drapes, median_sampler()) for drapes in (NONE, ALL))
    ratio = visible_width(wide).mean() / visible_width(narrow).mean()
    assert ratio.item() == pytest.approx(1.15, abs=0.05)


def test_warp_scales_and_shears_then_rotates_then_shifts():
    """A dot at (0.25, 0.5) must appear where the documented order of the steps puts it."""
    size = 56  # the dot spans 2×2 pixels around its center
    image = torch.zeros(1, 1, size, size)
    image[..., 41:43, 34:36] = 1
    steps = {"degrees": 90, "scale_x": -0.5, "scale_y": 0.75, "shear": 0.2}
    one = {name: torch.tensor([float(value)]) for name, value in steps.items()}
    result = warp(image, **one, shift_x=torch.tensor([0.1]), shift_y=torch.tensor([-0.2]))[0, 0]
    x, y = -0.5 * 0.25 + 0.2 * 0.5, 0.75 * 0.5  # scaled and sheared
    x, y = -y, x  # rotated clockwise by 90 degrees
    x, y = x + 0.1, y - 0.2  # shifted
    centers = torch.linspace(-1 + 1 / size, 1 - 1 / size, size)
    assert ((result.sum(0) * centers).sum() / result.sum()).item() == pytest.approx(x, abs=0.02)
    assert ((result.sum(1) * centers).sum() / result.sum()).item() == pytest.approx(y, abs=0.02)
