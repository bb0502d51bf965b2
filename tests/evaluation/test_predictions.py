"""The file predictions.npz."""

import numpy as np
import pytest

from fashioncnn.evaluation.predictions import (
    SplitPredictions,
    load_predictions,
    save_predictions,
)

LOGITS, LABELS = np.eye(3, 2, dtype=np.float32), np.array([0, 1, 1], np.uint8)
INDICES = np.array([5, 2, 9])
IDENTITY = {"model_sha256": "abc", "test_sha256": "def"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions.npz"


def test_predictions_are_loaded_as_saved(path):
    saved = {
        "validation": SplitPredictions(LOGITS[:2], LABELS[:2]),
        "test": SplitPredictions(LOGITS, LABELS, INDICES),
    }
    save_predictions(path, saved, IDENTITY)
    predictions, identity = load_predictions(path)
    assert identity == IDENTITY
    assert predictions.keys() == saved.keys()
    np.testing.assert_array_equal(predictions["test"].logits, LOGITS)
    np.testing.assert_array_equal(predictions["test"].labels, LABELS)
    np.testing.assert_array_equal(predictions["test"].indices, INDICES)
    assert predictions["validation"].indices is None


def test_same_predictions_are_the_same_bytes(path):
    contents = []
    for _ in range(2):
        save_predictions(path, {"test": SplitPredictions(LOGITS, LABELS, INDICES)}, IDENTITY)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


def test_missing_file_has_no_predictions(path):
    assert load_predictions(path) == ({}, {})


def test_damaged_file_has_no_predictions(path):
    save_predictions(path, {"test": SplitPredictions(LOGITS, LABELS, INDICES)}, IDENTITY)
    content = path.read_bytes()
    for damaged in (b"", b"text", content[:-40], content[:100]):
        path.write_bytes(damaged)
        assert load_predictions(path) == ({}, {})


@pytest.mark.parametrize(
    "arrays",
    [
        {"test_logits": LOGITS},
        {"test_logits": LOGITS.astype(np.float64), "test_labels": LABELS},
        {"test_logits": LOGITS, "test_labels": LABELS[:2]},
        {"test_logits": LOGITS, "test_labels": LABELS.astype(np.int64)},
        {"test_logits": LOGITS[0], "test_labels": LABELS},
        {"test_logits": np.full_like(LOGITS, np.nan), "test_labels": LABELS},
        {"test_logits": LOGITS, "test_labels": LABELS, "test_indices": INDICES[:2]},
        {"test_logits": LOGITS, "test_labels": LABELS, "test_indices": INDICES / 2},
    ],
    ids=[
        "no labels",
        "float64",
        "fewer labels",
        "int64 labels",
        "one dimension",
        "nan",
        "fewer indices",
        "float indices",
    ],
)
def test_inconsistent_arrays_are_no_predictions(path, arrays):
    np.savez(path, **arrays)
    assert load_predictions(path) == ({}, {})
