import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from fashioncnn.errors import DataError, UsageError
from fashioncnn.inference.sources import count_sources, find_sources, only_idx, read_list

from ..idx import write_idx

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 4)).astype(np.uint8)


def find(*sources, stdin=b""):
    return list(find_sources(sources, BytesIO(stdin), 100))


def names(*sources):
    found = find(*sources)
    assert count_sources(sources) == len(found)
    return [image.name for image in found]


@pytest.fixture(autouse=True)
def closet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.png",
        "a.JPG",
        "notes.txt",
        ".hidden.png",
        "in/c.webp",
        "in/.x/d.png",
        "b[1].png",
    ):
        path = Path("closet", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_files_folders_and_globs_keep_their_order():
    everything = ["closet/a.JPG", "closet/b.png", "closet/b[1].png", "closet/in/c.webp"]
    assert names("closet") == everything
    assert names("closet/b.png", "closet/a.JPG", "closet/in") == [
        "closet/b.png",
        "closet/a.JPG",
        "closet/in/c.webp",
    ]
    assert names("closet/*.png") == ["closet/b.png", "closet/b[1].png"]
    assert names("closet/?.*") == ["closet/a.JPG", "closet/b.png"]
    assert names("closet/*") == [*everything, "closet/notes.txt"]  # as a shell would have it
    assert names("closet/**/*.webp", str(Path("closet").resolve() / "*.JPG")) == [
        "closet/in/c.webp",
        str(Path("closet/a.JPG").resolve()),
    ]
    assert names("closet/**") == [*everything, "closet/notes.txt"]
    assert names("../*/closet/a.JPG")[0].endswith("closet/a.JPG")


def test_a_name_with_brackets_is_a_name_where_there_is_such_a_file():
    assert names("closet/b[1].png") == ["closet/b[1].png"]


def test_hidden_files_are_matched_where_they_are_meant():
    assert names("closet/.*.png") == ["closet/.hidden.png"]


def test_globs_follow_no_link_round_in_a_circle():
    for name in ("x", "y"):
        Path("closet", name).symlink_to("../closet")
    assert names("closet/**/*.webp") == ["closet/in/c.webp"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("gone.jpg", "gone.jpg: no such file"),
        ("closet/*.bmp", "no file matches"),
        ("closet/a**b", "no file matches"),
        ("empty", "a folder without an image"),
    ],
)
def test_what_names_nothing_is_told_in_its_place(source, reason):
    Path("empty").mkdir()
    first, nothing, last = find("closet/b.png", source, "closet/a.JPG")
    assert isinstance(nothing.content, UsageError)
    assert nothing.name == source
    assert reason in str(nothing.content)
    assert isinstance(first.content, Path) and isinstance(last.content, Path)
    assert count_sources([source]) == 1


def test_standard_input_is_read_no_further_than_a_image_can_be_long():
    (image,) = find("-", stdin=b"x" * 1000)
    assert (image.name, image.content) == ("-", b"x" * 101)


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_every_image_of_an_idx_file(name):
    write_idx(Path(name), IMAGES)
    found = find("closet/b.png", name)
    assert [p.name for p in found[1:]] == [f"{name}[{i}]" for i in range(5)]
    np.testing.assert_array_equal([p.content for p in found[1:]], IMAGES)
    assert count_sources(["closet/b.png", name]) == 6


def test_an_idx_file_that_is_cut_short_tells_after_its_images():
    write_idx(Path("whole"), IMAGES)
    Path("images").write_bytes(Path("whole").read_bytes()[:-20])
    *found, fault, last = find("images", "closet/b.png")
    assert [p.name for p in found] == ["images[0]", "images[1]", "images[2]"]
    assert isinstance(fault.content, DataError)
    assert not isinstance(fault.content, UsageError)
    assert last.name == "closet/b.png"


def test_labels_are_no_images():
    write_idx(Path("labels"), IMAGES[0, 0])
    (fault,) = find("labels")
    assert "not an IDX file of 3-dimensional" in str(fault.content)
    assert count_sources(["labels"]) == 1


def test_only_idx_files():
    write_idx(Path("images"), IMAGES)
    assert only_idx(["images", "images"])
    assert not only_idx(["images", "closet/b.png"])
    assert not only_idx(["images", "gone"])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("content", "listed"),
    [
        (b"", []),
        (b"a.png", ["a.png"]),
        (b"a.png\n\nb c.png\r\n", ["a.png", "b c.png"]),
        (b"a\nb.png\0c.png\0", ["a\nb.png", "c.png"]),
        (b"\xff.png\n", [os.fsdecode(b"\xff.png")]),
    ],
)
def test_lists_of_names(monkeypatch, content, listed, size):
    if b"\0" in content and size < 8:
        pytest.skip("how names end is seen in the first block")
    monkeypatch.setattr("fashioncnn.inference.sources.CHUNK", size)
    assert list(read_list(BytesIO(content))) == listed


def test_nothing_is_listed_before_it_is_asked_for():
    def endless():
        while True:
            yield "closet/b.png"

    found = find_sources(endless(), BytesIO(), 100)
    assert [next(found).name for _ in range(3)] == ["closet/b.png"] * 3
