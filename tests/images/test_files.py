import inspect
import sys

from fashioncnn.images.files import walk_images


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
