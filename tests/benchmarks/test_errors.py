import csv

import numpy as np
import pytest

import errors

from .test_recorded_results import row_of

CLASSES = ["a", "b", "c"]


@pytest.fixture
def reviewed(tmp_path, monkeypatch):
    """Mistakes on four images, and their review."""
    monkeypatch.setattr(errors, "FOLDER", tmp_path)
    mistakes = [
        {"index": 10 + i, "label": 0, "predicted": 1 + i % 2, "confidence": 0.9} for i in range(4)
    ]
    result = {"model": "m", "split": "test", "n": 40, "accuracy": 0.9, "classes": CLASSES}
    errors.write_result(tmp_path / "m-test.json", {**result, "mistakes": mistakes})
    rows = [(10, "a", "b", "A"), (11, "c", "a", "A"), (12, "b", "a", "AB"), (13, "c", "a", "-")]
    return lambda: write_review(tmp_path / "m-test-review.csv", rows), rows


def write_review(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("index", "A", "B", "answer"), *rows])


def test_answers_are_mapped_to_label_and_prediction(reviewed):
    write, _ = reviewed
    write()
    assert errors.read_review("m-test") == {10: "network", 11: "label", 12: "both", 13: "neither"}
    table = errors.table()
    assert table.count("| 1 of 4 | 25% [5% – 70%] | 2.50 [0.46 – 6.99] |") == 4


@pytest.mark.parametrize("row", [(10, "a", "b", ""), (99, "a", "b", "A"), (10, "a", "c", "A")])
def test_incomplete_or_other_review_is_rejected(reviewed, row):
    write, rows = reviewed
    rows[0] = row
    write()
    with pytest.raises(SystemExit, match=r"expected a and b|no mistake of m-test"):
        errors.read_review("m-test")


def test_order_of_names_does_not_depend_on_the_label():
    mistakes = [{"index": i, "label": 0, "predicted": 1} for i in range(400)]
    sample = errors.sample_of(mistakes)
    assert len({mistake["index"] for mistake, _ in sample}) == errors.SAMPLE
    assert 40 < sum(first for _, first in sample) < 80
    assert sample == errors.sample_of(mistakes)
    assert errors.names_shown(mistakes[0], False, CLASSES) == ("b", "a")


def test_images_are_shown_dark_on_light():
    image = np.zeros((28, 28), np.uint8)
    image[10:18, 10:18] = 255
    enlarged = np.asarray(errors.enlarge(image))
    assert (enlarged[0, 0], enlarged[70, 70]) == (255, 0)


def test_recorded_review(call):
    table = call(errors, "table")
    rows = [line for line in table.splitlines() if line.startswith("| `medium`, test |")]
    assert sum(int(line.split("|")[3].split()[0]) for line in rows) == 120
    assert row_of(rows[0], "`medium`, test")[2] == "23 of 120"
