import argparse

import numpy as np
import pytest

import photo
from fashioncnn.config import resolve
from finetune import Photographs, is_reported

CLASSES = (
    *("dress", "hat", "longsleeve", "outwear", "pants"),
    *("shirt", "shoes", "shorts", "skirt", "t-shirt"),
)


@pytest.fixture
def photographs():
    labels = (np.arange(300) % 10).astype(np.uint8)
    views = [np.full((2, 28, 28), number % 256, np.uint8) for number in range(300)]
    return Photographs([f"{n}.jpg" for n in range(300)], labels, CLASSES, views)


def test_report_set_and_left_out_folders_are_never_trained_on(photographs):
    reported = {i for i, name in enumerate(photographs.names) if is_reported(name)}
    train, held_out = photo.select(photographs, None, None)
    assert set(held_out) == reported
    for fold in (None, 1, 5):
        for leave_out in (None, "hat"):
            train, held_out = photo.select(photographs, fold, leave_out)
            assert not set(train) & {*held_out, *reported}
            assert (fold is None) or not reported & set(held_out)
            assert (1 in photographs.labels[train]) == (leave_out is None)


def test_classes_are_those_of_the_recipe(photographs):
    settings = resolve("photo", assignments=["data.rehearsal_source=none"], environment={})
    data = settings.data.model_copy(update={"rehearsal": None, "classes": FASHION})
    dataset = photo.make_dataset(
        photographs, np.arange(20), settings.model_copy(update={"data": data})
    )
    sets = {
        CLASSES[label]: [FASHION[i] for i in np.flatnonzero(row)]
        for label, row in zip(photographs.labels, dataset.train.allowed, strict=False)
    }
    assert sets["shoes"] == ["Sandal", "Sneaker", "Ankle boot"]
    assert sets["hat"] == sets["shorts"] == sets["skirt"] == []
    assert sets["longsleeve"] == ["Pullover"]


FASHION = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def test_stored_views_are_read_back(photographs, tmp_path):
    no_clothing = [np.full((2, 28, 28), n, np.uint8) for n in range(3)]
    photo.save_sources(photo.Sources(photographs, no_clothing), tmp_path / "views.npz")
    stored = photo.read_sources(tmp_path / "views.npz")
    assert stored.photographs.names == photographs.names
    assert stored.photographs.class_names == CLASSES
    np.testing.assert_array_equal(stored.photographs.labels, photographs.labels)
    np.testing.assert_array_equal(stored.photographs.views[7], photographs.views[7])
    np.testing.assert_array_equal(stored.no_clothing, no_clothing)


def test_hash_of_the_files_does_not_depend_on_their_order(photographs):
    positions = np.arange(20)
    assert photo.files_sha256(photographs, positions) == photo.files_sha256(
        photographs, positions[::-1]
    )
    assert photo.files_sha256(photographs, positions) != photo.files_sha256(
        photographs, positions[1:]
    )


def test_names_of_results():
    options = argparse.Namespace(fold=None, leave_out=None, name=None)
    assert photo.result_path(options, 2).name == "report-seed2.json"
    options = argparse.Namespace(fold=1, leave_out="hat", name="long")
    assert photo.result_path(options, 0).name == "fold1-without-hat-long-seed0.json"
