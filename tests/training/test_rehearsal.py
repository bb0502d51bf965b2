"""Batches with images of another split added."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fashioncnn.data.dataset import Split
from fashioncnn.errors import UsageError
from fashioncnn.models.trained_model import load_model
from fashioncnn.runs import new_run
from fashioncnn.training.batches import Batches
from fashioncnn.training.initialize import class_frequencies, create_batches
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.rehearsal import RehearsalBatches
from fashioncnn.training.run import train_model, write_start

CPU = torch.device("cpu")


def make(n, batch_size, first=0):
    """Return batches of n images, whose pixels are their position from `first` on."""
    images = torch.arange(first, first + n, dtype=torch.uint8).view(n, 1, 1, 1)
    allowed = torch.ones(n, 3, dtype=torch.bool)
    labels = torch.zeros(n, dtype=torch.int64)
    return Batches(images, labels, 3, batch_size=batch_size, seed=5, allowed=allowed)


def pixels(batches):
    return [batch.images.flatten().int().tolist() for batch in batches]


def test_images_are_added_to_every_batch():
    batches = RehearsalBatches(make(5, 2), make(7, 3, first=100))
    epochs = [pixels(batches.epoch(epoch)) for epoch in range(3)]
    assert len(batches) == 5 + 3 * 3
    own = [[p for step in epoch for p in step if p < 100] for epoch in epochs]
    assert [sorted(of_epoch) for of_epoch in own] == [[0, 1, 2, 3, 4]] * 3
    added = [[p for p in step if p >= 100] for epoch in epochs for step in epoch]
    assert all(len(of_step) == 3 for of_step in added)
    for start in range(0, 8, 2):  # two steps are a pass over seven images
        assert len(set(added[start] + added[start + 1])) == 6
    assert added[0] + added[1] != added[2] + added[3]


def test_an_epoch_goes_on_from_any_batch():
    batches = RehearsalBatches(make(9, 2), make(7, 3, first=100))
    for epoch in (0, 3):
        whole = pixels(batches.epoch(epoch))
        for done in range(5):
            assert pixels(batches.epoch(epoch, done * batches.batch_size)) == whole[done:]


@pytest.mark.parametrize("n", [8, 9, 10])
def test_a_whole_epoch_has_no_further_batch(n):
    """The last batch of nine images is smaller; a checkpoint after it must not repeat it."""
    batches = RehearsalBatches(make(n, 2), make(7, 3, first=100))
    assert len(pixels(batches.epoch(0))) == -(-n // 2)
    assert pixels(batches.epoch(0, len(batches))) == []


@pytest.fixture
def partial(small):
    """Return a dataset with two correct classes for some images and none for others."""
    allowed = np.eye(10, dtype=bool)[small.train.labels]
    allowed[small.train.labels == 7, 5] = True
    allowed[small.train.labels == 8] = False
    labels = allowed.argmax(1).astype(np.uint8)
    train = Split(small.train.images, labels, allowed=allowed)
    return replace(small, name="own", train=train, rehearsal=small.test)


def test_only_images_of_rehearsal_are_rendered_as_photographs(partial, tiny_settings):
    settings = tiny_settings(
        "data.rehearsal=8", "augmentation.photograph=1", "augmentation.outlier_exposure=0.5"
    )
    batches = create_batches(settings, partial.train, partial, CPU)
    batch = next(batches.epoch(0))
    own = batch.images[:-8].to(torch.uint8).flatten(1)
    known = {bytes(image.numpy()) for image in torch.from_numpy(partial.train.images).flatten(1)}
    assert all(bytes(image.numpy()) in known for image in own)
    assert not batch.allowed[-8:].any(1).all(), "no outlier among the images of rehearsal"
    expected = {tuple(row) for row in partial.train.allowed.tolist()}
    assert {tuple(row) for row in batch.allowed[:-8].tolist()} <= expected


@pytest.mark.parametrize("stopped_after", [3, 10])  # of ten steps, the last one smaller
def test_interrupted_training_with_rehearsal_resumes_to_the_same_weights(
    stopped_after, partial, tiny_settings, tmp_path
):
    settings = tiny_settings(
        "data.rehearsal=8", "augmentation.photograph=0.5", "training.checkpoint_seconds=1e-9"
    )
    settings = prepare_settings(settings, partial)
    whole = train_model(settings, partial)
    steps = iter(range(100))

    def stop():
        return UsageError("stop") if next(steps) == stopped_after - 1 else None

    with new_run(tmp_path / "r", settings, lambda run: write_start(run, settings, partial)) as run:
        with pytest.raises(UsageError, match="stop"):
            train_model(settings, partial, run=run, stop=stop)
        resumed = train_model(settings, partial, run=run)
    assert resumed.model.sha256 == whole.model.sha256 == load_model(tmp_path / "r").sha256


@pytest.mark.parametrize(
    "setting",
    ["augmentation.mixup=1", "data.class_weights=auto", "data.label_noise=0.1", "data.rehearsal=0"],
)
def test_what_is_not_defined_for_sets_of_classes_is_rejected(partial, tiny_settings, setting):
    with pytest.raises(UsageError, match=setting.partition("=")[0]):
        prepare_settings(tiny_settings("data.rehearsal=8", setting), partial)


def test_detector_and_temperature_are_fitted_on_images_outside(partial, tiny_settings):
    settings = tiny_settings(
        "data.validation=auto", "training.abstain_below=auto", "optimizer.learning_rate=0.01"
    )
    dataset = replace(partial, rehearsal=None)
    result = train_model(prepare_settings(settings, dataset), dataset)
    detector = result.model.spec.ood_detector
    assert detector is not None
    stored = result.model.describe().to_json()["ood_detector"]
    assert stored.get("probability_slope", 0.0) == detector.probability_slope >= 0
    held_out = result.predictions["validation"]
    assert result.metrics["validation"]["n"] == len(held_out.labels) < len(dataset.train) // 6
    assert 8 not in held_out.labels


def test_logits_are_adjusted_by_the_frequencies_of_the_split_of_an_image(partial, tiny_settings):
    settings = tiny_settings("data.rehearsal=8", "training.logit_adjustment=0.5")
    batch = next(create_batches(settings, partial.train, partial, CPU).epoch(0))
    inside = batch.allowed.any(1)
    assert (batch.offsets[~inside] == 0).all()
    for split, rows in ((partial.train, slice(0, -8)), (partial.rehearsal, slice(-8, None))):
        expected = torch.from_numpy(0.5 * np.log(class_frequencies(split, 10))).float()
        for offsets in batch.offsets[rows][inside[rows]]:
            torch.testing.assert_close(offsets, expected)


def test_frequencies_of_sets_are_shared_among_their_classes():
    allowed = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]], bool)
    split = Split(
        np.zeros((4, 8, 8), np.uint8), allowed.argmax(1).astype(np.uint8), allowed=allowed
    )
    frequencies = class_frequencies(split, 4)
    np.testing.assert_allclose(frequencies[:3], [2 / 3, 1 / 6, 1 / 6])
    np.testing.assert_allclose(frequencies[3], frequencies[:3].mean())
