"""Batches: data order, augmentation, mixing, outlier exposure and teachers."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fashioncnn.augmentation.fashion import create_augmentation
from fashioncnn.data.seeding import epoch_order
from fashioncnn.models.backend import to_tensor
from fashioncnn.settings import AugmentationConfig
from fashioncnn.training.batches import Batch, Batches, rank_positions, target_probabilities

CPU = torch.device("cpu")
OUTLIERS = {"outlier_exposure": 0.3}
MIXING = {"mixup": 0.4, "cutmix": 1.0}


@pytest.fixture
def make_batches(small):
    def make(augmentation=None, **values):
        if augmentation is not None:
            config = AugmentationConfig(**augmentation)
            augmentation = create_augmentation(
                config, small.train.labels, small.class_names, 3, CPU
            )
        labels = torch.from_numpy(small.train.labels.astype(np.int64))
        values = {"batch_size": 64, "seed": 3, **values}
        images = to_tensor(small.train.images, CPU)
        return Batches(images, labels, classes=10, augmentation=augmentation, **values)

    return make


def assert_equal(batch, expected):
    assert len(batch) == len(expected)
    for name, reference in vars(expected).items():
        value = getattr(batch, name)
        if not isinstance(reference, int):  # of which images they are among several processes
            assert (value is None) == (reference is None), name
        if isinstance(reference, torch.Tensor):
            torch.testing.assert_close(value, reference, rtol=0, atol=0, msg=name)


def concatenate(batches):
    tensors = [batch.tensors() for batch in batches]
    return [torch.cat(column) for column in zip(*tensors, strict=True)]


def constant_teacher(images):
    probabilities = torch.arange(10.0).softmax(0)
    return probabilities.expand(len(images), 10)


def test_epoch_yields_the_images_in_their_order(small, make_batches):
    batches = make_batches()
    order = epoch_order(3, 2, 300)
    images, labels = concatenate(list(batches.epoch(2)))
    np.testing.assert_array_equal(images[:, 0].numpy(), small.train.images[order])
    np.testing.assert_array_equal(labels.numpy(), small.train.labels[order])
    assert [len(batch) for batch in batches.epoch(2)] == [64, 64, 64, 64, 44]
    assert len(batches) == 300


def test_epoch_can_start_at_any_batch(make_batches):
    batches = make_batches({**MIXING, **OUTLIERS, "noise": 0.1}, teacher=constant_teacher)
    whole = list(batches.epoch(1))
    for number in range(6):
        for batch, expected in zip(
            batches.epoch(1, start=64 * number), whole[number:], strict=True
        ):
            assert_equal(batch, expected)


@pytest.mark.parametrize("world_size", [1, 2, 3, 40])
def test_processes_get_different_images_of_each_batch(world_size, make_batches):
    options = {"teacher": constant_teacher, "alpha": 0.5}
    augmentation = {**MIXING, **OUTLIERS, "shift": 2, "rotation": 10}
    whole = list(make_batches(augmentation, **options).epoch(0))
    by_rank = [
        list(
            make_batches(augmentation, **options, rank=rank, world_size=world_size).epoch(0),
        )
        for rank in range(world_size)
    ]
    for number, expected in enumerate(whole):
        counted = torch.zeros(len(expected), dtype=torch.int64)
        for rank in range(world_size):
            batch = by_rank[rank][number]
            positions = rank_positions(len(expected), 0 if batch.is_padding else rank, world_size)
            counted[positions] += not batch.is_padding
            assert_equal(batch, expected.map(lambda tensor, at=positions: tensor[at]))
            assert batch.size == len(expected)
        assert (counted == 1).all()


@pytest.mark.parametrize("n", [0, 1, 2, 5, 64, 127])
def test_mixing_partners_stay_on_one_process_at_mirrored_positions(n):
    for world_size in (1, 2, 3, 8):
        positions = [rank_positions(n, rank, world_size) for rank in range(world_size)]
        assert torch.cat(positions).sort().values.tolist() == list(range(n))
        for of_rank in positions:
            assert torch.equal(of_rank.flip(0), n - 1 - of_rank)
        sizes = [len(of_rank) for of_rank in positions]
        assert max(sizes) - min(sizes) <= 2


def test_batch_without_augmentation_has_unchanged_images_and_labels(small, make_batches):
    batch = make_batches().build(torch.tensor([4, 0, 7]), epoch=0)
    assert batch.images.dtype == torch.uint8
    np.testing.assert_array_equal(batch.images[:, 0].numpy(), small.train.images[[4, 0, 7]])
    assert (batch.targets, batch.teacher_probabilities, batch.teacher_weights) == (None,) * 3


def test_batch_equals_the_steps_of_its_augmentation(make_batches):
    batches = make_batches({**MIXING, **OUTLIERS, "shift": 2, "erasing": 0.5})
    augmentation, indices, epoch = batches.augmentation, torch.arange(40, 90), 4
    images = augmentation(batches.images[indices], indices, epoch)
    images, weights = augmentation.mix(images, indices, epoch)
    outliers = augmentation.is_outlier(indices, epoch)
    labels = batches.labels[indices]
    targets = target_probabilities(labels, 10, outliers, weights)
    assert_equal(batches.build(indices, epoch), Batch(images, labels, targets))


def test_targets_of_outliers_are_uniform():
    labels = torch.tensor([0, 1, 2, 3])
    outliers = torch.tensor([True, False, False, True])
    targets = target_probabilities(labels, 4, outliers, None)
    assert targets[[0, 3]].tolist() == [[0.25] * 4] * 2
    assert targets[[1, 2]].tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]


def test_targets_of_mixed_images_are_mixed_with_the_mirrored_position():
    labels, weights = torch.tensor([0, 1, 2]), torch.tensor([0.75, 0.5, 0.0])
    targets = target_probabilities(labels, 3, None, weights)
    expected = [[0.75, 0, 0.25], [0, 1, 0], [1, 0, 0]]
    torch.testing.assert_close(targets, torch.tensor(expected))


def test_targets_of_images_mixed_with_an_outlier_are_partly_uniform():
    labels, weights = torch.tensor([0, 1]), torch.tensor([0.75, 1.0])
    targets = target_probabilities(labels, 2, torch.tensor([True, False]), weights)
    torch.testing.assert_close(targets, torch.tensor([[0.375, 0.625], [0.0, 1.0]]))


def test_labels_are_the_targets_without_outliers_and_mixing():
    assert target_probabilities(torch.tensor([0, 1]), 2, None, None) is None


def test_targets_are_probabilities(make_batches):
    for batch in make_batches({**MIXING, **OUTLIERS}).epoch(0):
        torch.testing.assert_close(batch.targets.sum(1), torch.ones(len(batch)))
        assert batch.targets.dtype == torch.float32


def test_teacher_gets_the_augmented_images(make_batches):
    received = []

    def teacher(images):
        received.append(images.clone())
        return constant_teacher(images)

    batches = make_batches({"noise": 0.1, **MIXING}, teacher=teacher, alpha=0.7)
    for batch in batches.epoch(0):
        torch.testing.assert_close(received[-1], batch.images, rtol=0, atol=0)
        torch.testing.assert_close(batch.teacher_probabilities, constant_teacher(batch.images))
        assert (batch.teacher_weights == torch.tensor(0.7)).all()
    assert len(received) == 5


@pytest.mark.parametrize("mixing", [{}, MIXING], ids=["not mixed", "mixed"])
def test_teacher_has_no_weight_where_an_outlier_takes_part(mixing, make_batches):
    batches = make_batches({**OUTLIERS, **mixing}, teacher=constant_teacher, alpha=1.0)
    indices = torch.arange(64)
    batch = batches.build(indices, 0)
    affected = batches.augmentation.is_outlier(indices, 0)
    assert 5 < affected.sum() < 40
    if mixing:
        affected = affected | affected.flip(0)
    assert torch.equal(batch.teacher_weights, (~affected).float())
    if not mixing:
        expected = torch.full((10,), 0.1).expand(int(affected.sum()), 10)
        assert torch.equal(batch.targets[affected], expected)
        one_hot = F.one_hot(batch.labels, 10).float()
        assert torch.equal(batch.targets[~affected], one_hot[~affected])


def test_map_applies_a_function_to_each_tensor():
    batch = Batch(torch.zeros(2, 1, 3, 3), torch.tensor([1, 2]), targets=torch.eye(2))
    mapped = batch.map(lambda tensor: tensor + 1)
    assert len(mapped.tensors()) == len(batch.tensors()) == 3
    for value, original in zip(mapped.tensors(), batch.tensors(), strict=True):
        assert torch.equal(value, original + 1)
    assert mapped.teacher_weights is None
