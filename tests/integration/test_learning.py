"""The whole thing learns: the drawings in seconds, and Fashion-MNIST where it is to be had."""

import json

import pytest

from fashioncnn.cli import main
from fashioncnn.data.dataset import Dataset
from fashioncnn.data.load import load_dataset
from fashioncnn.data.splits import stratified_split_indices
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model


def test_sketches_are_learnt_to_over_90_percent_and_not_trivially_to_100(sketches):
    from fashioncnn.config import resolve

    settings = resolve(flags={"epochs": 12, "device": "cpu"})
    result = train_model(prepare_settings(settings, sketches), sketches)
    accuracies = [r["test_accuracy"] for r in result.history]
    assert 0.90 < accuracies[-1] < 1
    assert accuracies[0] < 0.90


@pytest.mark.real_data
def test_official_files_are_fashion_mnist(real_data):
    data = load_dataset(real_data)
    assert data.name == "fashion-mnist"
    assert data.train.images.shape == (60000, 28, 28)
    assert data.test.images.shape == (10000, 28, 28)
    assert data.train.images[0, 3].sum() > 0
    assert data.train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    assert data.test.labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]


@pytest.mark.real_data
def test_official_validation_part_is_10000_stratified_and_fixed(real_data):
    labels = load_dataset(real_data).train.labels
    _, held = stratified_split_indices(labels, 10000)
    assert [int((labels[held] == c).sum()) for c in range(10)] == [1000] * 10
    assert held[:5].tolist() == [1, 4, 14, 15, 19]


@pytest.mark.real_data
def test_one_pixel_makes_it_another_data_set(real_data, tmp_path):
    import gzip
    from pathlib import Path

    for path in Path(real_data).glob("*ubyte*"):
        content = path.read_bytes()
        if path.name.startswith("t10k-images"):
            pixels = bytearray(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
            pixels[5000] ^= 1
            (tmp_path / "t10k-images-idx3-ubyte").write_bytes(pixels)
        else:
            (tmp_path / path.name).write_bytes(content)
    assert main(["data", str(tmp_path)]) == 1


@pytest.mark.real_data
def test_baseline_learns_a_slice_of_fashion_mnist(real_data, capsys):
    data = load_dataset(real_data)
    part = Dataset(
        data.name,
        data.class_names,
        first(data.train, 6000),
        first(data.test, 2000),
        "fashion",
        real_data,
    )
    from fashioncnn.config import resolve

    settings = prepare_settings(resolve(flags={"epochs": 6, "device": "cpu"}), part)
    result = train_model(settings, part)
    assert json.loads(json.dumps(result.metrics))["test"]["accuracy"] > 0.80


def first(split, n):
    return type(split)(split.images[:n], split.labels[:n])
