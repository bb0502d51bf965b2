import math

import numpy as np
import pytest

from fashioncnn.augmentation.parameters import COLUMNS, SAMPLES_PER_IMAGE, draw_parameters
from fashioncnn.settings import AugmentationConfig

N = 4000
EVERYTHING = {
    name: 3 if name == "shift" else 0.5
    for name in AugmentationConfig.model_fields
    if name != "erasing_fill"
}


def draw(seed=7, epoch=0, n=N, **settings):
    return draw_parameters(AugmentationConfig(**settings), seed, epoch, n)


def test_every_setting_has_parameters():
    assert {setting for setting, _ in COLUMNS.values()} == EVERYTHING.keys()


def test_parameters_of_disabled_transforms_are_not_drawn():
    assert draw(flip=0.5).keys() == {"flip"}
    assert draw(noise=0.5).keys() == {"noise_std", "noise_key"}
    assert not draw()


def test_parameters_do_not_depend_on_other_settings():
    everything = draw(**EVERYTHING | {"mixup": 0.0}, n=10)
    for setting in EVERYTHING.keys() - {"mixup"}:
        for name, values in draw(**{setting: EVERYTHING[setting]}, n=10).items():
            np.testing.assert_array_equal(values, everything[name])


@pytest.mark.parametrize("other", [{"seed": 8}, {"epoch": 1}])
def test_every_parameter_depends_on_seed_and_epoch(other):
    first, second = draw(**EVERYTHING), draw(**EVERYTHING, **other)
    assert first.keys() == COLUMNS.keys() | {"noise_key"}
    for name, values in first.items():
        assert not np.array_equal(values, second[name]), name


def test_columns_are_independent():
    table = draw(**EVERYTHING)
    scalars = [values for values in table.values() if values.ndim == 1]
    correlation = np.corrcoef(scalars) - np.eye(len(scalars))
    assert np.abs(correlation).max() < 0.08


@pytest.mark.parametrize(
    ("settings", "name", "low", "high"),
    [
        ({"shift": 3}, "shift_x", -3, 3),
        ({"shift": 3}, "shift_y", -3, 3),
        ({"crop": 0.3}, "crop_scale", 0.7, 1),
        ({"crop": 0.3}, "crop_x", -1, 1),
        ({"rotation": 90.0}, "rotation", -math.pi / 2, math.pi / 2),
        ({"scale": 0.25}, "scale", 0.8, 1.25),
        ({"shear": 45.0}, "shear", -1, 1),
        ({"brightness": 0.4}, "brightness", 0.6, 1.4),
        ({"contrast": 0.4}, "contrast", 0.6, 1.4),
        ({"blur": 1.5}, "blur_sigma", 0, 1.5),
        ({"noise": 0.1}, "noise_std", 0, 0.1),
        ({"erasing": 0.5}, "erasing_area", 0.02, 0.4),
        ({"erasing": 0.5}, "erasing_aspect", 0.3, 1 / 0.3),
        ({"cutout": 0.5}, "cutout_x", 0, 1),
        ({"mixup": 1.0}, "mixup_lambda", 0, 1),
        ({"cutmix": 1.0}, "cutmix_lambda", 0, 1),
        ({"photograph": 0.5}, "photograph_params", 0, 1),
        ({"outlier_exposure": 0.5}, "outlier_params", 0, 1),
    ],
)
def test_values_fill_their_documented_range(settings, name, low, high):
    values = draw(**settings)[name]
    margin = 0.01 * (high - low)
    assert values.dtype == np.float32
    assert low - 1e-6 <= values.min() < low + margin
    assert high - margin < values.max() <= high + 1e-6


@pytest.mark.parametrize(
    ("settings", "name", "probability"),
    [
        ({"flip": 0.3}, "flip", 0.3),
        ({"erasing": 0.7}, "erasing", 0.7),
        ({"cutmix": 1.0}, "use_cutmix", 1),
        ({"cutmix": 1.0, "mixup": 1.0}, "use_cutmix", 0.5),
        ({"photograph": 0.4}, "photograph", 0.4),
        ({"outlier_exposure": 0.2}, "is_outlier", 0.2),
    ],
)
def test_flags_are_set_with_their_probability(settings, name, probability):
    values = draw(**settings)[name]
    assert set(np.unique(values)) <= {0, 1}
    assert values.mean() == pytest.approx(probability, abs=0.03)


def test_mixing_weights_follow_the_configured_beta_distribution():
    for alpha in (0.2, 2.0):
        table = draw(mixup=alpha, cutmix=alpha)
        for name in ("mixup_lambda", "cutmix_lambda"):
            assert table[name].mean() == pytest.approx(0.5, abs=0.03)
            variance = 1 / (4 * (2 * alpha + 1))
            assert table[name].var() == pytest.approx(variance, rel=0.08)


def test_renderers_get_a_row_of_samples_per_image():
    table = draw(photograph=0.5, outlier_exposure=0.5, n=9)
    assert table["photograph_params"].shape == (9, SAMPLES_PER_IMAGE)
    assert table["outlier_params"].shape == (9, SAMPLES_PER_IMAGE)
    assert table["noise_key"].dtype == np.int64
    assert 0 <= table["noise_key"].min() <= table["noise_key"].max() < 2**32
