"""Trainings reach a useful accuracy; the official data is recognized and split as documented."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fashioncnn.config import resolve
from fashioncnn.data.dataset import FASHION_MNIST
from fashioncnn.data.load import load_dataset
from fashioncnn.data.splits import stratified_split_indices
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model


@pytest.fixture(scope="module")
def official(real_data):
    return load_dataset(real_data)


def train(dataset, **flags):
    flags = {"device": "cpu", "kernels": "torch", **flags}
    settings = prepare_settings(resolve(flags=flags, environment={}), dataset)
    return train_model(settings, dataset)


@pytest.mark.slow
def test_accuracy_on_sketches_exceeds_90_percent_after_several_epochs(sketches):
    accuracies = [record["test_accuracy"] for record in train(sketches, epochs=12).history]
    assert 0.90 < accuracies[-1] < 1
    assert accuracies[0] < 0.90


def test_accuracy_of_a_short_training_exceeds_60_percent(sketches):
    dataset = replace(
        sketches,
        train=sketches.train.subset(np.arange(1000)),
        test=sketches.test.subset(np.arange(300)),
    )
    result = train(dataset, epochs=3, batch_size=50)
    assert result.metrics["test"]["accuracy"] > 0.6


@pytest.mark.real_data
def test_official_files_are_recognized(official):
    assert official.name == "fashion-mnist"
    assert official.train.images.shape == (60000, 28, 28)
    assert official.test.images.shape == (10000, 28, 28)
    assert official.train.images[0, 3].sum() > 0
    assert official.train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert official.test.labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]


@pytest.mark.real_data
def test_validation_split_is_fixed_and_stratified(official):
    labels = official.train.labels
    _, validation = stratified_split_indices(labels, 10000)
    assert np.bincount(labels[validation]).tolist() == [1000] * 10
    assert validation[:5].tolist() == [1, 4, 14, 15, 19]


@pytest.mark.real_data
def test_files_with_one_changed_pixel_are_not_the_official_ones(real_data, official, tmp_path):
    for path in Path(real_data).glob("*ubyte*"):
        content = path.read_bytes()
        if path.name.startswith("t10k-images"):
            pixels = bytearray(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
            pixels[5000] ^= 1
            (tmp_path / "t10k-images-idx3-ubyte").write_bytes(pixels)
        else:
            (tmp_path / path.name).symlink_to(path.resolve())
    with pytest.warns(UserWarning, match="not the official Fashion-MNIST files: t10k-images"):
        dataset = load_dataset(str(tmp_path))
    assert dataset.name != FASHION_MNIST
    assert dataset.hashes["train"] == official.hashes["train"]


@pytest.mark.slow
@pytest.mark.real_data
def test_accuracy_on_a_subset_of_fashion_mnist_exceeds_80_percent(official):
    subset = replace(
        official,
        train=official.train.subset(np.arange(6000)),
        test=official.test.subset(np.arange(2000)),
    )
    assert train(subset, epochs=6).metrics["test"]["accuracy"] > 0.80
