"""Sources of images: files, folders, globs, standard input and IDX files."""

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
    assert names("closet/*") == [*everything, "closet/notes.txt"]  # as in a shell
    assert names("closet/**/*.webp", str(Path("closet").resolve() / "*.JPG")) == [
        "closet/in/c.webp",
        str(Path("closet/a.JPG").resolve()),
    ]
    assert names("closet/**") == [*everything, "closet/notes.txt"]
    assert names("../*/closet/a.JPG")[0].endswith("closet/a.JPG")


def test_files_in_folders_that_are_not_images_are_reported():
    Path("other").mkdir()
    Path("other", "a.csv").touch()
    skipped = []
    found = find_sources(
        ["closet", "clos*", "other", "closet/notes.txt"], BytesIO(), 9, skipped.append
    )
    assert len(list(found)) == 4 + 4 + 1 + 1
    assert [str(path) for path in skipped] == ["closet/notes.txt"] * 2 + ["other/a.csv"]


def test_name_of_an_existing_file_is_not_a_glob():
    assert names("closet/b[1].png") == ["closet/b[1].png"]


def test_hidden_files_are_matched_only_by_hidden_patterns():
    assert names("closet/.*.png") == ["closet/.hidden.png"]


def test_globs_do_not_follow_links():
    for name in ("x", "y"):
        Path("closet", name).symlink_to("../closet")
    assert names("closet/**/*.webp") == ["closet/in/c.webp"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("gone.jpg", "gone.jpg: no such file"),
        ("closet/*.bmp", "no matching file"),
        ("closet/a**b", "no matching file"),
        ("empty", "a folder without images"),
        ("a\0b", "no such file"),
        ("x" * 5000, "x…: not a valid file name"),
    ],
    ids=lambda value: value[:20],
)
def test_source_without_images_has_an_error_in_its_place(source, reason):
    Path("empty").mkdir()
    first, missing, last = find("closet/b.png", source, "closet/a.JPG")
    assert isinstance(missing.content, UsageError)
    assert missing.name == source
    assert reason in str(missing.content)
    assert len(str(missing.content)) < 400
    assert isinstance(first.content, Path) and isinstance(last.content, Path)
    assert count_sources([source]) == 1


def test_standard_input_is_read_up_to_the_limit():
    (image,) = find("-", stdin=b"x" * 1000)
    assert (image.name, image.content) == ("-", b"x" * 101)


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_idx_file_yields_each_of_its_images(name):
    write_idx(Path(name), IMAGES)
    found = find("closet/b.png", name)
    assert [p.name for p in found[1:]] == [f"{name}[{i}]" for i in range(5)]
    np.testing.assert_array_equal([p.content for p in found[1:]], IMAGES)
    assert count_sources(["closet/b.png", name]) == 6


def test_truncated_idx_file_yields_its_images_and_an_error():
    write_idx(Path("whole"), IMAGES)
    Path("images").write_bytes(Path("whole").read_bytes()[:-20])
    *found, error, last = find("images", "closet/b.png")
    assert [p.name for p in found] == ["images[0]", "images[1]", "images[2]"]
    assert isinstance(error.content, DataError)
    assert not isinstance(error.content, UsageError)
    assert last.name == "closet/b.png"


def test_idx_file_of_labels_is_an_error():
    write_idx(Path("labels"), IMAGES[0, 0])
    (error,) = find("labels")
    assert "not an IDX file of 3-dimensional" in str(error.content)
    assert count_sources(["labels"]) == 1


def test_only_idx_is_true_if_all_sources_are_idx_files():
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
def test_names_in_a_list_end_with_a_newline_or_nul(monkeypatch, content, listed, size):
    if b"\0" in content and size < 8:
        pytest.skip("the first chunk determines how names end")
    monkeypatch.setattr("fashioncnn.inference.sources.CHUNK", size)
    assert list(read_list(BytesIO(content))) == listed


@pytest.mark.parametrize("start", [b"", b"a.png\n", b"a.png\0"])
def test_endless_name_in_a_list_is_rejected_before_it_is_read(start):
    class Endless(BytesIO):
        def __init__(self):
            super().__init__(start)
            self.bytes = 0

        def read(self, size=-1):
            self.bytes += size
            return super().read(size) or b"x" * size

    file = Endless()
    with pytest.raises(UsageError, match=r"entry \d of the list of sources: longer than 32,768"):
        list(read_list(file))
    assert file.bytes <= 1 << 18


def test_sources_are_found_lazily():
    def endless():
        while True:
            yield "closet/b.png"

    found = find_sources(endless(), BytesIO(), 100)
    assert [next(found).name for _ in range(3)] == ["closet/b.png"] * 3
