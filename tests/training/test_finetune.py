"""Training from weights with other classes, views of images, calibration by cross-validation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.seeding import view_draws
from fashioncnn.errors import InterruptedRun, UsageError
from fashioncnn.evaluation.calibration import fit_temperature
from fashioncnn.models.backend import torch_predictor
from fashioncnn.runs import new_run
from fashioncnn.training.batches import Batches
from fashioncnn.training.calibration import HeldOut, calibrate, needs_cross_validation
from fashioncnn.training.optimizers import build_optimizer
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model, write_start

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def closet(small) -> Dataset:
    """Return 40 images of three classes, each with one to three views."""
    kept = np.flatnonzero(small.train.labels < 3)[:40]
    split = small.train.subset(kept)
    views = tuple(np.stack([image] * (1 + i % 3)) for i, image in enumerate(split.images))
    train = Split(split.images, split.labels, views=views)
    return Dataset("closet", ("hat", "Trouser", "Dress"), train, None, "photo", "closet")


@pytest.fixture
def finetune(tiny_result):
    """Return a function that resolves settings of the recipe for the tiny model."""
    from fashioncnn.config import resolve

    def make(dataset, *assignments, **flags):
        fixed = {"device": "cpu", "kernels": "torch", "epochs": 2, "batch_size": 16, **flags}
        settings = resolve("finetune", flags=fixed, assignments=[*assignments], environment={})
        return prepare_settings(settings, dataset, tiny_result.model)

    return make


def test_one_view_is_drawn_for_each_image_and_epoch():
    counts = torch.tensor([1, 3, 2])
    images = torch.tensor([10, 20, 21, 22, 30, 31], dtype=torch.uint8).view(6, 1, 1, 1)
    batches = Batches(images, torch.arange(3), 3, batch_size=2, seed=5, view_counts=counts)
    drawn = []
    for epoch in range(50):
        values = {}
        for batch in batches.epoch(epoch):
            pixels = batch.images.flatten().tolist()
            values |= dict(zip(batch.labels.tolist(), pixels, strict=True))
        drawn.append([values[label] for label in range(3)])
        alone = batches.build(torch.tensor([1]), epoch).images.item()
        assert alone == values[1], "the view depends on the batch"
    assert [set(column) for column in zip(*drawn, strict=True)] == [{10}, {20, 21, 22}, {30, 31}]
    draws = view_draws(5, 0, 3)
    assert drawn[0] == [10, 20 + int(draws[1] * 3), 30 + int(draws[2] * 2)]


@pytest.mark.parametrize(
    ("per_class", "validation", "cross_validated"), [(19, 0, True), (20, 10, False)]
)
def test_few_images_are_not_held_out(small, finetune, per_class, validation, cross_validated):
    n = per_class * 3
    labels = (np.arange(n) % 3).astype(np.uint8)
    dataset = Dataset(
        "few", ("a", "b", "c"), Split(small.train.images[:n], labels), None, "plain", "few"
    )
    settings = finetune(dataset)
    assert settings.data.validation == validation
    assert needs_cross_validation(settings) == cross_validated


@pytest.mark.parametrize(("n", "epochs"), [(40, 67), (600, 15)])
def test_epochs_follow_from_the_number_of_images(small, finetune, n, epochs):
    images = np.resize(small.train.images, (n, 28, 28))
    dataset = replace(small, train=Split(images, (np.arange(n) % 10).astype(np.uint8)), test=None)
    settings = finetune(replace(dataset, name="own"), "data.validation=0", epochs="auto")
    assert settings.training.epochs == epochs  # at least 15, and at least 200 steps of 16 images


def test_a_run_from_weights_equals_one_that_was_interrupted(
    closet, finetune, tiny_result, tmp_path, stop_after, files_of
):
    """Interrupted in the loop, in the cross-validation, and resumed without the source model."""
    settings = finetune(closet)
    assert needs_cross_validation(settings)
    runs = []
    for name in ("whole", "interrupted"):
        with new_run(
            tmp_path / name,
            settings,
            lambda run: write_start(run, settings, closet, tiny_result.model),
        ) as run:
            runs.append(run)
    whole, interrupted = runs
    train_model(settings, closet, run=whole)
    for steps in (2, 7):  # of 6 steps, before those of the folds
        with pytest.raises(InterruptedRun):
            train_model(settings, closet, run=interrupted, stop=stop_after(steps))
    train_model(settings, closet, run=interrupted)
    assert files_of(whole) == files_of(interrupted)
    assert whole.read_environment()["initialized_from"] == tiny_result.model.sha256


def test_temperature_is_that_of_the_folds(closet, finetune, tiny_result):
    """The temperature depends on each fold's own model, and averages the views of an image."""
    settings = finetune(closet)
    model = train_model(settings, closet, initial=tiny_result.model).model
    assert model.spec.labels == closet.class_names
    assert model.spec.temperature != 1
    held_out = HeldOut(torch_predictor(tiny_result.model), closet.train)
    spec = calibrate(torch_predictor(model), settings, None, CPU, [held_out])
    logits = held_out.predictor.augmented_logits(closet.train.stacked_views)
    counts = np.array([len(views) for views in closet.train.views])
    expected = fit_temperature(logits, closet.train.labels, counts)
    assert spec.temperature == pytest.approx(expected)
    first = held_out.predictor.augmented_logits(closet.train.images)
    same = fit_temperature(first, closet.train.labels)
    assert expected == pytest.approx(same, rel=1e-3), "the views of an image are equal here"


def test_views_are_averaged_in_evaluations(closet, finetune, tiny_result):
    dataset = replace(closet, test=closet.train)
    result = train_model(finetune(dataset), dataset, initial=tiny_result.model)
    assert result.metrics["test"] is None
    settings = finetune(dataset, "training.track_test=true", "training.temperature=1.0")
    result = train_model(settings, dataset, initial=tiny_result.model)
    predicted = torch_predictor(result.model).predict_views(dataset.test.all_views).probabilities
    of_labels = predicted[np.arange(40), dataset.test.labels]
    assert result.metrics["test"]["loss"] == pytest.approx(-np.log(of_labels).mean(), rel=1e-5)
    assert result.history[-1]["test_loss"] == pytest.approx(result.metrics["test"]["loss"])


def test_frozen_features_stay_and_the_model_can_be_trained_further(closet, finetune, tiny_result):
    settings = finetune(closet, "training.freeze=features", "training.calibration_folds=0")
    result = train_model(settings, closet, initial=tiny_result.model)
    before, after = (m.network.state_dict() for m in (tiny_result.model, result.model))
    assert {k for k in after if not after[k].equal(before[k][: len(after[k])])} == {
        "output.weight",
        "output.bias",
    }
    assert all(parameter.requires_grad for parameter in result.model.network.parameters())
    assert result.model.parameters == sum(p.numel() for p in result.model.network.parameters())


def test_freezing_needs_weights_to_start_from(closet, tiny_settings):
    with pytest.raises(UsageError, match="freeze = 'features': only for a training that starts"):
        tiny_settings("training.freeze=features", dataset=closet)


@pytest.mark.parametrize("name", ["adamw", "sgd", "muon"])
def test_learning_rate_of_the_backbone_is_smaller(name, tiny_result, tiny_settings):
    rates = {"adamw": 0.1, "sgd": 0.1, "muon": 0.02}
    adam = ["optimizer.adam_learning_rate=0.02"] if name == "muon" else []
    settings = tiny_settings(
        f"optimizer.name={name}",
        "optimizer.learning_rate=0.1",
        *adam,
        "optimizer.backbone_lr_factor=0.5",
    )
    network = tiny_result.model.network
    optimizer = build_optimizer(settings.optimizer, network)
    scales = {id(p): 0.1 * g["scale"] for g in optimizer.param_groups for p in g["params"]}
    assert len(scales) == len(list(network.parameters()))
    assert scales[id(network.output.weight)] == pytest.approx(rates[name])
    assert scales[id(network.hidden.weight)] == pytest.approx(rates[name] / 2)
    inner = network.convolutions[1].weight  # Muon's
    assert scales[id(inner)] == pytest.approx(0.05)
