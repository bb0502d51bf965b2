import inspect
import sys
from pathlib import Path

import pytest

from fashioncnn.images.files import SkippedFiles, walk_images


def test_images_are_found_in_order_without_hidden_ones_or_cycles(tmp_path):
    for name in ("b.png", "a/z.JPG", "a.png", "a/notes.txt", ".x.png", ".git/a.png", "c/d/e.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c" / "cycle.png").symlink_to(tmp_path)
    (tmp_path / "c" / "cycle").symlink_to(tmp_path)
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    found = [str(path.relative_to(tmp_path)) for path in walk_images(tmp_path)]
    names = ["a/z.JPG", "a.png", "b.png", "c/d/e.webp", "gone.png", "link.png", "self.png"]
    assert found == names


def test_folder_that_cannot_be_listed_is_yielded(tmp_path):
    assert list(walk_images(tmp_path / "nothing")) == [tmp_path / "nothing"]


def test_nesting_deeper_than_the_recursion_limit(tmp_path):
    deepest = tmp_path.joinpath(*["d"] * 200)
    deepest.mkdir(parents=True)
    (deepest / "a.png").write_bytes(b"")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        found = list(walk_images(tmp_path))
    finally:
        sys.setrecursionlimit(limit)
    assert found == [deepest / "a.png"]


def test_files_that_are_not_images_are_reported_in_order_and_hidden_ones_are_not(tmp_path):
    names = ("b.png", "z.txt", "a/notes.docx", ".x.txt", "Thumbs.db", "desktop.ini", "c")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    skipped = []
    assert list(walk_images(tmp_path, skipped.append)) == [tmp_path / "b.png"]
    assert skipped == [tmp_path / name for name in ("c", "link", "z.txt", "a/notes.docx")]


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ([], None),
        (["a.txt"], "skipped 1 file that is not an image: a.txt"),
        (["a.txt", "b"], "skipped 2 files that are not images: a.txt, b"),
        (list("abcd"), "skipped 4 files that are not images: a, b, c, …"),
    ],
)
def test_skipped_files_are_described_in_one_line(names, line):
    skipped = SkippedFiles()
    for name in names:
        skipped(Path(name))
    assert skipped.describe() == line
    assert skipped.count == len(names)
