"""Files are read as they were written, and anything else is one of our errors."""

import gzip
import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from fashioncnn.data.idx import is_idx, read_idx, stream_idx_images
from fashioncnn.errors import DataError, ImageError, UsageError
from fashioncnn.evaluation.predictions import (
    SplitPredictions,
    load_predictions,
    save_predictions,
)
from fashioncnn.files import (
    is_temporary,
    remove_temporary_files,
    temporary_path,
    write_atomic,
    write_png,
)
from fashioncnn.images.decoding import read_image
from fashioncnn.images.formats import SIGNATURES
from fashioncnn.inference.sources import MAX_NAME_BYTES, read_list

from ..idx import write_idx
from .strategies import TEXT, damaged

PIXELS = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40))
STACKS = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=3, max_side=9))
LARGEST_GZIP_RATIO = 1032
"""Of zlib, https://www.zlib.net/zlib_tech.html."""
NAMES = st.text(
    st.characters(exclude_characters="\0/\n", exclude_categories=["Cs"]), min_size=1, max_size=60
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)


@given(content=st.binary(max_size=2000))
def test_written_file_has_its_content_and_no_other_file_is_left(tmp_path, content):
    path = tmp_path / "file"
    write_atomic(path, content)
    assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@given(values=STACKS, suffix=st.sampled_from(["", ".gz"]))
def test_idx_file_is_read_as_written(tmp_path, values, suffix):
    path = tmp_path / f"file{suffix}"
    write_idx(path, values)
    assert is_idx(path)
    assert np.array_equal(read_idx(path, values.ndim), values)
    if values.ndim == 3:
        assert np.array_equal(np.stack(list(stream_idx_images(path))), values)


@given(
    content=st.builds(
        lambda magic, shape, rest: bytes([0, 0, 8, magic]) + struct.pack(">3I", *shape) + rest,
        st.integers(0, 4),
        st.tuples(*[st.integers(0, 2**32 - 1) | st.integers(0, 5)] * 3),
        st.binary(max_size=300),
    )
    | st.binary(max_size=60),
    zipped=st.booleans(),
    dimensions=st.integers(1, 3),
)
def test_any_idx_file_is_read_or_rejected(tmp_path, content, zipped, dimensions):
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content, 1) if zipped else content)
    try:
        values = read_idx(path, dimensions)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert content[4 + 4 * dimensions :] == values.tobytes()


@given(data=st.data(), values=STACKS)
def test_damaged_gzip_file_is_read_or_rejected(tmp_path, data, values):
    path = tmp_path / "file.gz"
    write_idx(path, values)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    try:
        read = read_idx(path, values.ndim)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert read.size <= LARGEST_GZIP_RATIO * path.stat().st_size


@given(pixels=PIXELS)
def test_image_is_read_as_written(tmp_path, pixels):
    path = tmp_path / "image.png"
    write_png(path, Image.fromarray(pixels))
    assert np.array_equal(np.asarray(read_image(path)), pixels)


@given(data=st.data(), pixels=PIXELS, kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP"]))
def test_damaged_image_is_read_within_its_limit_or_rejected(data, pixels, kind):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    assert_read_or_rejected(data.draw(damaged(buffer.getvalue())))


@given(
    content=st.builds(
        lambda head, rest: head + rest,
        st.sampled_from([*SIGNATURES, b"RIFF\0\1\0\0WEBPVP8 ", b"RIFF\0\1\0\0WEBPVP8X", b""]),
        st.binary(max_size=200),
    )
)
def test_anything_that_starts_as_an_image_is_read_within_its_limit_or_rejected(content):
    assert_read_or_rejected(content)


def assert_read_or_rejected(content):
    limit = 10_000
    try:
        image = read_image(io.BytesIO(content), "file", max_pixels=limit)
    except ImageError as error:
        assert "\n" not in str(error)
    else:
        assert image.width * image.height <= limit
        assert image.mode in ("L", "RGB", "RGBA")


@given(
    logits=arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.just(4)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    split=st.sampled_from(["test", "validation"]),
    identity=TEXT.filter(lambda text: not text.endswith("\0")),
)
def test_predictions_are_read_as_written(tmp_path, logits, split, identity):
    path = tmp_path / "predictions.npz"
    labels = np.arange(len(logits)).astype(np.uint8)
    written = SplitPredictions(logits, labels, labels.astype(np.int64))
    save_predictions(path, {split: written}, {"model_sha256": identity})
    predictions, read_identity = load_predictions(path)
    assert read_identity == {"model_sha256": identity}
    for name in ("logits", "labels", "indices"):
        assert np.array_equal(getattr(predictions[split], name), getattr(written, name))


@given(data=st.data())
def test_damaged_predictions_are_read_as_written_or_not_at_all(tmp_path, data):
    path = tmp_path / "predictions.npz"
    logits = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    save_predictions(path, {"test": SplitPredictions(logits, np.uint8([0, 1, 2]))}, {"a": "b"})
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    predictions, _ = load_predictions(path)
    if "test" in predictions:
        assert np.array_equal(predictions["test"].logits, logits)


@given(names=st.lists(NAMES.filter(lambda name: not name.endswith("\r")), max_size=8))
@pytest.mark.parametrize("separator", ["\n", "\0", "\r\n"])
def test_list_of_names_is_read_as_written(names, separator):
    content = "".join(f"{name}{separator}" for name in names).encode()
    assert list(read_list(io.BytesIO(content))) == names


@given(content=st.binary(max_size=200), repeats=st.sampled_from([1, 1, 1000]))
def test_any_list_has_short_names_or_is_rejected(content, repeats):
    try:
        names = list(read_list(io.BytesIO(content * repeats)))
    except UsageError as error:
        assert "longer than" in str(error)
    else:
        assert all(0 < len(name) <= MAX_NAME_BYTES for name in names)


@given(names=st.sets(NAMES, max_size=6), target=NAMES)
def test_only_temporary_files_are_removed(tmp_path_factory, names, target):
    folder = tmp_path_factory.mktemp("folder")
    kept = {folder / name for name in names if not is_temporary(folder / name)}
    for path in kept:
        path.write_bytes(b"kept")
    left = temporary_path(folder / target)
    left.write_bytes(b"left by a killed process")
    assert is_temporary(left, target)
    remove_temporary_files(folder)
    assert set(folder.iterdir()) == kept
