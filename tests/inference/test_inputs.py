import itertools
import threading
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.errors import DataError, UsageError
from fashioncnn.inference import inputs
from fashioncnn.inference.inputs import AHEAD, GROUP, compute_views, load_views, map_in_order
from fashioncnn.inference.sources import ImageSource

FASHION = Preprocessing(28, 0.0, 1.0, "fashion")
MOST = 16_000_000


def test_order_is_kept_however_long_each_takes():
    def slowly(i):
        time.sleep(0.002 if i % 7 == 0 else 0)
        return i * i

    assert list(map_in_order(slowly, range(500), 4)) == [i * i for i in range(500)]
    assert list(map_in_order(slowly, [], 4)) == []


def test_little_more_is_taken_than_has_been_given():
    taken = itertools.count()
    results = map_in_order(lambda i: i, (next(taken) for _ in itertools.count()), 2)
    for _ in range(1000):
        next(results)
    results.close()
    assert next(taken) <= 1000 + (2 * AHEAD + 2) * GROUP


def test_several_are_worked_on_at_once():
    both = threading.Barrier(2, timeout=10)
    assert list(map_in_order(lambda i: (both.wait(), i)[1], range(2), 2)) == [0, 1]


def test_errors_come_out_in_their_place():
    results = map_in_order(lambda i: 1 // i, [1, 0, 1], 2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_whoever_stops_waits_for_nothing_that_is_still_to_be_done():
    done = []
    results = map_in_order(lambda i: (time.sleep(0.01), done.append(i)), range(100_000), 2)
    next(results)
    results.close()
    assert len(done) < 50


def test_the_file_its_bytes_and_its_pixels_are_the_same_image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30)).astype(np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    expected = compute_views(Image.fromarray(pixels), FASHION)
    assert expected.shape == (1, 28, 28)
    for content in (path, path.read_bytes(), pixels):
        seen = load_views(ImageSource("a", content), FASHION, MOST)
        np.testing.assert_array_equal(seen.views, expected)
        assert (seen.name, seen.error, seen.found) == ("a", None, True)


def test_pixels_of_the_right_size_are_taken_as_they_are():
    pixels = np.full((28, 28), 200, np.uint8)
    for images in ("fashion", "plain"):
        seen = load_views(ImageSource("a", pixels), Preprocessing(28, 0.0, 1.0, images), MOST)
        np.testing.assert_array_equal(seen.views, pixels[None])


@pytest.mark.parametrize(
    ("content", "why", "found"),
    [
        (UsageError("nothing there"), "nothing there", False),
        (DataError("cut short"), "cut short", True),
        (Path("gone"), "no such file", True),
        (b"text", "not a JPEG", True),
    ],
)
def test_what_cannot_be_seen_says_why(content, why, found):
    seen = load_views(ImageSource("a", content), FASHION, MOST)
    assert seen.views is None
    assert seen.found == found
    assert why in seen.error


def test_photographs_are_decoded_as_far_as_the_network_needs(monkeypatch):
    asked = []
    read = inputs.read_image

    def spy(file, name, **options):
        asked.append(options)
        return read(file, name, **options)

    monkeypatch.setattr(inputs, "read_image", spy)
    buffer = BytesIO()
    Image.new("RGB", (1000, 1000)).save(buffer, "JPEG")
    for size, enough in ((28, 512), (64, 512), (100, 800)):
        load_views(
            ImageSource("a", buffer.getvalue()), Preprocessing(size, 0.0, 1.0, "plain"), 10**7
        )
        assert asked[-1] == {"max_pixels": 10**7, "min_side": enough}
