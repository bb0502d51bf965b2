"""From sources to views, in threads."""

import itertools
import threading
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.errors import DataError, UsageError
from fashioncnn.inference import inputs
from fashioncnn.inference.inputs import (
    TASK_SIZE,
    TASKS_AHEAD,
    load_image,
    load_views,
    map_in_order,
)
from fashioncnn.inference.sources import ImageSource

FASHION = Preprocessing(28, 0.0, 1.0, "fashion")
MAX_PIXELS = 16_000_000


def test_order_does_not_depend_on_the_time_of_each_item():
    started = [threading.Event() for _ in range(500)]

    def wait_for_the_next(i):
        started[i].set()
        if i % 7 == 0 and i < 60:  # items that are one task each, so the next one is started
            assert started[i + 1].wait(timeout=60)
        return i * i

    assert list(map_in_order(wait_for_the_next, range(500), 4)) == [i * i for i in range(500)]
    assert list(map_in_order(wait_for_the_next, [], 4)) == []


def test_items_are_taken_a_bounded_number_ahead():
    taken = itertools.count()
    results = map_in_order(lambda i: i, (next(taken) for _ in itertools.count()), 2)
    for _ in range(1000):
        next(results)
    results.close()
    assert next(taken) <= 1000 + (2 * TASKS_AHEAD + 2) * TASK_SIZE


def test_items_are_computed_in_parallel():
    both = threading.Barrier(2, timeout=60)
    assert list(map_in_order(lambda i: (both.wait(), i)[1], range(2), 2)) == [0, 1]


def test_error_is_raised_at_its_position():
    results = map_in_order(lambda i: 1 // i, [1, 0, 1], 2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_closing_cancels_the_items_that_wait():
    done, gate = [], threading.Event()

    def compute(i):
        if i > 0:
            gate.wait(timeout=60)
        done.append(i)

    results = map_in_order(compute, range(100_000), 2)
    next(results)
    threading.Timer(0.05, gate.set).start()
    results.close()
    assert len(done) <= 1 + (2 * TASKS_AHEAD + 2) * TASK_SIZE


def test_file_content_and_pixels_of_an_image_have_the_same_views(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30)).astype(np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    expected = load_image(Image.fromarray(pixels), FASHION).views
    assert expected.shape == (1, 28, 28)
    for content in (path, path.read_bytes(), pixels):
        loaded = load_views(ImageSource("a", content), FASHION, MAX_PIXELS)
        np.testing.assert_array_equal(loaded.views, expected)
        assert (loaded.name, loaded.error, loaded.found) == ("a", None, True)
        assert loaded.resized


@pytest.mark.parametrize("mode", ["fashion", "plain", "photo"])
def test_array_of_the_image_size_is_used_unchanged(mode):
    pixels = np.full((28, 28), 200, np.uint8)
    preprocessing = Preprocessing(28, 0.0, 1.0, mode)
    loaded = load_views(ImageSource("a", pixels), preprocessing, MAX_PIXELS)
    np.testing.assert_array_equal(loaded.views, pixels[None])
    assert not loaded.resized


@pytest.mark.parametrize(
    ("content", "error", "found"),
    [
        (UsageError("no such file"), "no such file", False),
        (DataError("truncated"), "truncated", True),
        (Path("gone"), "no such file", True),
        (b"text", "not a JPEG", True),
    ],
)
def test_image_that_cannot_be_read_has_an_error(content, error, found):
    loaded = load_views(ImageSource("a", content), FASHION, MAX_PIXELS)
    assert loaded.views is None
    assert loaded.found == found
    assert error in loaded.error


def test_image_with_too_many_pixels_is_rejected(png):
    content = png(np.zeros((40, 40), np.uint8))
    assert load_views(ImageSource("a", content), FASHION, 1599).views is None
    assert load_views(ImageSource("a", content), FASHION, 1600).error is None


@pytest.mark.parametrize(("size", "min_side"), [(28, 500), (64, 500), (100, 700)])
def test_photographs_are_decoded_to_the_resolution_of_the_views(size, min_side, monkeypatch):
    options, read_image = [], inputs.read_image

    def record(file, name, **values):
        options.append(values)
        return read_image(file, name, **values)

    monkeypatch.setattr(inputs, "read_image", record)
    buffer = BytesIO()
    Image.new("RGB", (1000, 1000)).save(buffer, "JPEG")
    preprocessing = Preprocessing(size, 0.0, 1.0, "plain")
    load_views(ImageSource("a", buffer.getvalue()), preprocessing, 10**7)
    (only,) = options
    assert (only["max_pixels"], only["min_side"]) == (10**7, min_side)
