import pytest
import torch

from fashioncnn.augmentation import mixing
from fashioncnn.augmentation.outlier_exposure import UPPER
from fashioncnn.augmentation.photographs import ClassTraits
from fashioncnn.augmentation.pipeline import Augmentation
from fashioncnn.settings import AugmentationConfig

from .garments import make_garments

N, SIZE = 40, 28
INDICES = torch.arange(N)
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
RENDERED = {"photograph": 0.5, "outlier_exposure": 0.3}
SETTINGS = [{name: value} for name, value in (EACH | RENDERED).items()] + [EACH | RENDERED]


@pytest.fixture(scope="module")
def images():
    return make_garments(N)


def create(seed=7, **settings):
    traits = ClassTraits(INDICES % 3 == 0, INDICES % 4 == 1, INDICES % 5 == 2)
    return Augmentation(AugmentationConfig(**settings), seed, N, traits, INDICES % 3)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_result_does_not_depend_on_the_batch(images, settings):
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    together = create(**settings)(images[order], order, 3)
    assert together.dtype == torch.float32
    assert together.shape == images.shape
    assert 0 <= together.min() <= together.max() <= 255
    for position in (0, 11, N - 1):
        index = order[position : position + 1]
        alone = create(**settings)(images[index], index, 3)
        torch.testing.assert_close(alone[0], together[position], rtol=0, atol=1e-2)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_result_depends_on_seed_and_epoch_only(images, settings):
    augmentation = create(**settings)
    first, other_epoch, again = (augmentation(images, INDICES, epoch) for epoch in (0, 1, 0))
    assert torch.equal(first, again)
    assert not torch.equal(first, other_epoch)
    assert not torch.equal(first, create(seed=8, **settings)(images, INDICES, 0))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_input_is_not_modified(images, dtype):
    before = images.to(dtype)
    given = before.clone()
    create(**EACH, photograph=0.5)(given, INDICES, 0)
    assert torch.equal(given, before)


def test_call_combines_parameters_and_apply(images):
    augmentation = create(**EACH, **RENDERED)
    applied = augmentation.apply(images, augmentation.parameters(INDICES, 2))
    assert torch.equal(applied, augmentation(images, INDICES, 2))


def test_disabled_transforms_leave_the_images_unchanged(images):
    augmentation = create(mixup=0.5)
    assert torch.equal(augmentation(images, INDICES, 0), images.float())


def test_erasing_fill_is_configurable(images):
    noise = create(erasing=1.0)(images, INDICES, 0)
    zero = create(erasing=1.0, erasing_fill="zero")(images, INDICES, 0)
    assert (zero <= images).all()
    assert (noise > images).flatten(1).any(1).all()


def test_is_outlier_flags_the_replaced_images(images):
    augmentation = create(outlier_exposure=0.3)
    flags = augmentation.is_outlier(INDICES, 0)
    assert flags.dtype == torch.bool
    assert 0.1 < flags.float().mean() < 0.5
    replaced = (augmentation(images, INDICES, 0) != images).flatten(1).any(1)
    assert torch.equal(replaced, flags)


def test_is_outlier_is_none_without_outlier_exposure():
    assert create(photograph=0.5).is_outlier(INDICES, 0) is None


def test_only_flagged_images_become_photographs(images):
    augmentation = create(photograph=0.5)
    flags = augmentation.parameters(INDICES, 0)["photograph"] > 0
    assert 0.3 < flags.float().mean() < 0.7
    changed = (augmentation(images, INDICES, 0) != images).flatten(1).any(1)
    assert torch.equal(changed, flags)


def test_outliers_are_never_arranged_as_pairs_or_given_sleeves(images):
    """Traits of the source image must not change an out-of-distribution image."""
    settings = AugmentationConfig(photograph=1.0, outlier_exposure=0.5)
    none, every = torch.zeros(N) > 0, torch.ones(N) > 0
    plain, shoes = (
        Augmentation(settings, 1, N, ClassTraits(trait, trait, none))(images, INDICES, 0)
        for trait in (none, every)
    )
    flags = Augmentation(settings, 1, N).is_outlier(INDICES, 0)
    assert torch.equal(plain[flags], shoes[flags])
    assert not torch.equal(plain[~flags], shoes[~flags])


def test_mix_is_the_mixing_of_the_batch(images):
    augmentation = create(**MIXING)
    assert augmentation.mixes
    plain = images.float()
    mixed, weights = augmentation.mix(plain, INDICES, 0)
    expected = mixing.mix(plain, augmentation.parameters(INDICES, 0))
    assert torch.equal(mixed, expected[0])
    assert torch.equal(weights, expected[1])


def test_mixes_is_false_without_mixup_and_cutmix():
    assert not create(**EACH, **RENDERED).mixes


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_default_dtype_does_not_matter(images, dtype):
    settings = EACH | RENDERED | MIXING
    expected = create(**settings)(images, INDICES, 0)
    torch.set_default_dtype(dtype)
    try:
        result = create(**settings)(images, INDICES, 0)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(result, expected)


def test_transforms_run_without_reading_values_back_to_the_host(images):
    """Meta tensors have no values: branching on one, or mixing devices, raises."""
    augmentation = create(**EACH, **MIXING)
    parameters = augmentation.parameters(INDICES, 0)
    parameters = {name: values.to("meta") for name, values in parameters.items()}
    result, weights = mixing.mix(augmentation.apply(images.to("meta"), parameters), parameters)
    assert result.device.type == weights.device.type == "meta"
    assert result.shape == images.shape


def assert_same_images(result, expected):
    """Compare devices: rounding may move single pixels across a threshold."""
    assert ((result - expected).abs() > 0.5).float().mean() < 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_transforms_are_captured_in_a_cuda_graph(images):
    augmentation = create(**EACH, **MIXING)
    on_device, indices = images.cuda(), INDICES.cuda()
    parameters = augmentation.parameters(indices, 0)

    def step():
        return mixing.mix(augmentation.apply(on_device, parameters), parameters)[0]

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()
    for name, values in augmentation.parameters(indices, 1).items():
        parameters[name].copy_(values)
    graph.replay()
    expected = augmentation.mix(augmentation(images, INDICES, 1), INDICES, 1)[0]
    assert_same_images(result.cpu(), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_photographs_and_outliers_are_the_same_on_cuda(images):
    augmentation = create(**RENDERED)
    result = augmentation(images.cuda(), INDICES.cuda(), 0).cpu()
    assert_same_images(result, augmentation(images, INDICES, 0))


def test_default_traits_are_those_of_no_garment(images):
    none = torch.zeros(N) > 0
    config = AugmentationConfig(**RENDERED)
    default = Augmentation(config, 0, N)(images, INDICES, 0)
    explicit = Augmentation(config, 0, N, ClassTraits(none, none, none), torch.zeros(N).long())
    assert torch.equal(default, explicit(images, INDICES, 0))
    halves = Augmentation(config, 0, N, None, torch.full((N,), UPPER))
    assert not torch.equal(default, halves(images, INDICES, 0))
