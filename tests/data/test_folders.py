import os
from pathlib import Path

import numpy as np
import pytest
from fashioncnn.data.folders import find_images, read_class_folders
from PIL import Image

from fashioncnn.errors import DataError


def fill(folder, classes, n=6):
    for level, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            Image.new("L", (20, 10), 10 + 40 * level + i).save(folder / name / f"{i}.png")


def test_plain_folders_hold_out_a_sixth(tmp_path):
    fill(tmp_path, ["cat", "ant", "bee"])
    data = read_class_folders(tmp_path, 16)
    assert data.class_names == ("ant", "bee", "cat")
    assert data.train.images.shape == (15, 16, 16)
    assert np.bincount(data.test.labels).tolist() == [1, 1, 1]
    again = read_class_folders(tmp_path, 16)
    assert again.hashes == data.hashes


def test_train_and_test_folders_share_the_class_map(tmp_path):
    fill(tmp_path / "train", ["ant", "bee", "cat"])
    fill(tmp_path / "test", ["cat"], n=2)
    data = read_class_folders(tmp_path, 28)
    assert data.test.labels.tolist() == [2, 2]


def test_no_test_folder_means_no_test_part(tmp_path):
    fill(tmp_path / "train", ["ant", "bee"])
    assert read_class_folders(tmp_path, 28).test is None


def test_other_files_are_left_alone(tmp_path):
    fill(tmp_path, ["ant", "bee"])
    (tmp_path / "ant" / "notes.txt").write_text("x")
    (tmp_path / ".git").mkdir()
    assert len(read_class_folders(tmp_path, 28).train) == 10


def test_empty_class_folder_is_named(tmp_path):
    fill(tmp_path, ["ant", "bee"])
    (tmp_path / "cow").mkdir()
    with pytest.raises(DataError, match="cow: a class folder without an image"):
        read_class_folders(tmp_path, 28)


def test_a_part_without_class_folders_is_named(tmp_path):
    fill(tmp_path / "train", ["ant", "bee"])
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=r"test: holds no class folder, such as ant"):
        read_class_folders(tmp_path, 28)


@pytest.mark.parametrize(
    "name", ["new\nline", "esc\x1b[31m", b"\xff\xfe".decode("utf-8", "surrogateescape")]
)
def test_class_names_that_cannot_be_printed_are_refused(tmp_path, name):
    fill(tmp_path, ["ant", "bee", name])
    with pytest.raises(DataError, match="a class name that cannot be printed"):
        read_class_folders(tmp_path, 28)


def test_broken_image_is_named(tmp_path):
    fill(tmp_path, ["ant", "bee"])
    (tmp_path / "bee" / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.jpg: not a JPEG"):
        read_class_folders(tmp_path, 28)


def test_class_that_only_the_test_part_has(tmp_path):
    fill(tmp_path / "train", ["ant", "bee"])
    fill(tmp_path / "test", ["dog"])
    with pytest.raises(DataError, match="dog: a class that the training part lacks"):
        read_class_folders(tmp_path, 28)


@pytest.mark.parametrize("classes", [[], ["ant"]])
def test_too_few_classes(tmp_path, classes):
    fill(tmp_path, classes)
    with pytest.raises(DataError):
        read_class_folders(tmp_path, 28)


def test_images_are_found_in_order_without_hidden_ones_or_circles(tmp_path):
    for name in ("b.png", "a/z.JPG", "a.png", "a/notes.txt", ".x.png", ".git/a.png", "c/d/e.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c" / "round.png").symlink_to(tmp_path)
    (tmp_path / "c" / "round").symlink_to(tmp_path)
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    found = [str(path.relative_to(tmp_path)) for path in find_images(tmp_path)]
    names = ["a/z.JPG", "a.png", "b.png", "c/d/e.webp", "gone.png", "link.png", "self.png"]
    assert found == names


def test_folders_may_lie_in_each_other_by_the_thousand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    depth = 1500
    for _ in range(depth):
        os.mkdir("d")  # noqa: PTH102
        os.chdir("d")
    Path("a.png").write_bytes(b"")
    os.chdir(tmp_path)
    (found,) = find_images(Path("d"))
    assert found.parts == ("d",) * depth + ("a.png",)
    found.unlink()
    for folder in list(found.parents)[:depth]:  # pytest could not, for it goes about it recursively
        folder.rmdir()


def test_photographs_of_telephones_are_not_too_large(tmp_path):
    fill(tmp_path, ["ant", "bee"])
    Image.new("L", (5000, 4000)).save(tmp_path / "ant" / "large.png")
    assert len(read_class_folders(tmp_path, 28).train) == 11
    Image.new("L", (9000, 8000)).save(tmp_path / "ant" / "larger.png")
    with pytest.raises(DataError, match="over the limit of 64 megapixels; make it smaller"):
        read_class_folders(tmp_path, 28)
