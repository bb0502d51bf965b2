import gzip
import os
import struct

import numpy as np
import pytest

from fashioncnn.data.idx import count_idx_images, is_idx, read_idx, stream_idx_images
from fashioncnn.errors import DataError

from ..idx import write_idx

VALUES = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


@pytest.mark.parametrize("name", ["images-idx3-ubyte", "images-idx3-ubyte.gz"])
def test_values_round_trip(tmp_path, name):
    write_idx(tmp_path / name, VALUES)
    np.testing.assert_array_equal(read_idx(tmp_path / name, 3), VALUES)


def header(*shape, kind=8):
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape)


FAULTS = {
    "empty file": (b"", "not an IDX file"),
    "web page": (b"<!DOCTYPE html><html>", "web page"),
    "web page after a newline": (b"\n<html>", "web page"),
    "labels instead of images": (header(18) + bytes(18), "3-dimensional"),
    "floats": (header(2, 3, 3, kind=13) + bytes(72), "uint8"),
    "half a header": (header(2, 3, 3)[:9], "truncated in its header"),
    "no images": (header(0, 3, 3), "empty"),
    "truncated": (header(2, 3, 3) + bytes(17), "truncated, contains 17 of 18 values"),
    "trailing byte": (header(2, 3, 3) + bytes(19), "more bytes than the 18 values"),
    "header of 64 PB": (header(2**32 - 1, 4096, 4096) + bytes(9), "over the limit of 4 GiB"),
    "header of 3 GB": (header(3 * 2**20, 32, 32) + bytes(9), "contains 9 of 3,221,225,472"),
}


@pytest.mark.parametrize("gzipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("fault", FAULTS)
def test_malformed_file_is_rejected_with_its_path_and_fault(tmp_path, fault, gzipped):
    content, expected = FAULTS[fault]
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(content) if gzipped else content)
    with pytest.raises(DataError, match=expected) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)


def test_gzip_with_changed_byte_is_rejected(tmp_path):
    path = tmp_path / "images.gz"
    write_idx(path, np.random.default_rng(0).integers(0, 256, (50, 28, 28)).astype(np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_idx(path, 3)


def test_truncated_gzip_is_rejected(tmp_path):
    path = tmp_path / "images.gz"
    write_idx(path, VALUES)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="damaged"):
        read_idx(path, 3)


def test_missing_file_is_rejected(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_idx(tmp_path / "nothing", 3)


MANY = np.random.default_rng(0).integers(0, 256, (2500, 28, 28)).astype(np.uint8)
"""More than one chunk."""


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_images_are_streamed_in_order(tmp_path, name):
    write_idx(tmp_path / name, MANY)
    assert is_idx(tmp_path / name)
    assert count_idx_images(tmp_path / name) == 2500
    np.testing.assert_array_equal(list(stream_idx_images(tmp_path / name)), MANY)


@pytest.mark.parametrize("fault", FAULTS)
def test_stream_yields_the_images_before_the_fault(tmp_path, fault):
    path = tmp_path / "images"
    path.write_bytes(FAULTS[fault][0])
    images = []
    with pytest.raises(DataError, match="images: "):
        images.extend(stream_idx_images(path))
    assert len(images) == {"truncated": 1, "trailing byte": 2}.get(fault, 0)


def test_truncated_stream_reports_the_number_of_images(tmp_path):
    write_idx(tmp_path / "images", MANY)
    path = tmp_path / "short"
    path.write_bytes((tmp_path / "images").read_bytes()[:-1])
    images = []
    with pytest.raises(DataError, match="contains 2,499 of 2,500 images"):
        images.extend(stream_idx_images(path))
    assert len(images) == 2499


def test_huge_image_in_a_small_gzip_is_not_allocated(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(header(1, 60000, 60000) + bytes(1_000_000)))
    with pytest.raises(DataError, match="60000×60000 pixels, over the limit of 16 megapixels"):
        next(stream_idx_images(path))


def test_other_files_are_not_idx_files(tmp_path):
    (tmp_path / "a").write_bytes(b"hello")
    (tmp_path / "b").write_bytes(gzip.compress(b"hello")[:12])
    os.mkfifo(tmp_path / "c")
    assert not any(is_idx(tmp_path / name) for name in ("a", "b", "c", "d", "."))
