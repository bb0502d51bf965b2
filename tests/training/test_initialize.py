"""The state and the batches that a training starts with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from fashioncnn.data.seeding import weights_seed
from fashioncnn.models import build_model
from fashioncnn.models.backend import normalize, to_tensor
from fashioncnn.training.distillation import TeacherEnsemble
from fashioncnn.training.ema import EMA
from fashioncnn.training.initialize import class_weights, create_batches, create_state
from fashioncnn.training.losses import Loss

CPU = torch.device("cpu")


def test_initial_weights_follow_from_the_seed(mini, tiny_settings):
    settings = tiny_settings(dataset=mini, seed=7)
    state = create_state(settings, mini.train, mini, CPU)
    torch.manual_seed(weights_seed(7))
    expected = build_model(settings.model, 28, 10)
    for value, reference in zip(state.network.parameters(), expected.parameters(), strict=True):
        assert torch.equal(value, reference)


def test_state_has_the_settings_of_the_training(mini, tiny_settings):
    settings = tiny_settings(
        "training.label_smoothing=0.1",
        "training.ema_decay=0.9",
        "distillation.ensemble_size=1",
        "distillation.temperature=2.0",
        "schedule.name=linear",
        "optimizer.learning_rate=0.5",
        "runtime.precision=bf16",
        dataset=mini,
        seed=3,
        epochs=3,
    )
    state = create_state(settings, mini.train, mini, CPU)
    assert state.loss == Loss(label_smoothing=0.1, class_weights=None, temperature=2.0)
    assert isinstance(state.ema, EMA) and state.ema.decay == 0.9
    assert (state.epochs, state.seed, state.precision) == (3, 3, "bf16")
    assert [state.learning_rate(step) for step in (0, 6, 11)] == pytest.approx(
        [0.5, 0.25, 0.5 / 12]
    )
    assert state.spec.architecture == settings.model
    assert (state.spec.labels, state.spec.dataset) == (mini.class_names, "sketches")
    assert create_state(tiny_settings(dataset=mini), mini.train, mini, CPU).ema is None


@pytest.mark.parametrize(("views", "tta"), [("fashion", "none"), ("photo", "flip")])
def test_photographs_are_predicted_with_flips(views, tta, mini, tiny_settings):
    settings = tiny_settings(f"data.views={views}", dataset=mini)
    spec = create_state(settings, mini.train, mini, CPU).spec
    assert (spec.preprocessing.views, spec.tta) == (views, tta)


def test_whitening_layer_is_fitted_to_the_training_images(mini, tiny_settings):
    whitening = "model.name=batchnorm_cnn", "model.channels=[8, 8]", "model.whitening=true"
    settings = tiny_settings(*whitening, dataset=mini)
    state = create_state(settings, mini.train, mini, CPU)
    torch.manual_seed(weights_seed(0))
    expected = build_model(settings.model, 28, 10)
    expected.whiten(normalize(to_tensor(mini.train.images, CPU), state.spec.preprocessing))
    for name, reference in expected.state_dict().items():
        assert torch.equal(state.network.state_dict()[name], reference), name


def test_initial_model_gives_weights_and_preprocessing(mini, tiny_settings, tiny_result):
    initial = replace(
        tiny_result.model,
        spec=tiny_result.model.spec.replace(
            preprocessing=replace(tiny_result.model.spec.preprocessing, mean=0.25)
        ),
    )
    settings = tiny_settings(dataset=mini, seed=9)
    state = create_state(settings, mini.train, mini, CPU, initial)
    assert state.spec.preprocessing.mean == 0.25
    weights = initial.network.state_dict()
    for name, value in state.network.state_dict().items():
        assert torch.equal(value, weights[name])
        assert value.data_ptr() != weights[name].data_ptr()


def test_class_weights_equal_those_of_scikit_learn():
    labels = np.array([0, 0, 0, 1, 2, 2], np.uint8)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights(labels, 3), expected, rtol=1e-6)
    # Two images per class on average, of the three that have some.
    assert class_weights(labels, 4).tolist() == [0.5, 1.5, 0.75, 0.75]


def test_loss_has_class_weights_if_they_are_set(mini, tiny_settings):
    settings = tiny_settings("data.class_weights=auto", dataset=mini)
    state = create_state(settings, mini.train, mini, CPU)
    expected = class_weights(mini.train.labels, 10)
    np.testing.assert_array_equal(state.loss.class_weights.numpy(), expected)


def test_batches_have_images_augmentation_and_teachers(mini, tiny_settings, tiny_result):
    settings = tiny_settings(
        "augmentation.shift=2",
        "distillation.ensemble_size=1",
        "distillation.alpha=0.3",
        dataset=mini,
        seed=4,
        batch_size=20,
    )
    teachers = TeacherEnsemble([tiny_result.model], "fp32")
    batches = create_batches(settings, mini.train, mini, CPU, teachers)
    np.testing.assert_array_equal(batches.images[:, 0].numpy(), mini.train.images)
    np.testing.assert_array_equal(batches.labels.numpy(), mini.train.labels)
    assert (batches.batch_size, batches.seed, batches.classes) == (20, 4, 10)
    assert batches.augmentation.config == settings.augmentation
    assert (batches.teacher, batches.alpha) == (teachers, 0.3)
    plain = create_batches(tiny_settings(dataset=mini), mini.train, mini, CPU)
    assert (plain.augmentation, plain.teacher) == (None, None)
