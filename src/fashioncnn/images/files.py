"""Find image files in folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from fashioncnn.images.formats import SUFFIXES

SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"})
"""Files and folders, in lower case, that are hidden on the systems that create them."""
SHOWN_NAMES = 3
"""Names of skipped files in a message."""

OnSkip = Callable[[Path], None]
"""Called with each file that is not an image, and each link to a folder."""


class SkippedFiles:
    """Counts the files that `walk_images` skips, and describes them.

    >>> skipped = SkippedFiles()
    >>> images = list(walk_images(Path("closet"), skipped))
    >>> skipped.describe()
    'skipped 2 files that are not images: closet/notes.txt, closet/price.csv'

    Attributes:
        count: of skipped files.
        first: the first `SHOWN_NAMES` of them; all names could be many.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Path] = []

    def __call__(self, path: Path) -> None:
        """Count a file."""
        self.count += 1
        if len(self.first) < SHOWN_NAMES:
            self.first.append(path)

    def describe(self) -> str | None:
        """Return one line with the number and the first names, or None if no file was skipped."""
        if not self.count:
            return None
        what = "1 file that is not an image"
        if self.count > 1:
            what = f"{self.count:,} files that are not images"
        more = ", …" if self.count > len(self.first) else ""
        return f"skipped {what}: {', '.join(map(str, self.first))}{more}"


def walk_images(folder: Path, on_skip: OnSkip | None = None) -> Iterator[Path]:
    """Yield the image files under `folder`, recursively and sorted, by their suffixes.

    Hidden files and folders are ignored. Symbolic links to folders are not followed, which rules
    out cycles. Unreadable files are yielded, and so is a folder that cannot be listed, so that the
    caller's attempt to read it reports the error.

    Args:
        folder: to search.
        on_skip: called with each file that is not an image, and each link to a folder, when its
            folder is listed; a `SkippedFiles` counts them. None ignores them.
    """
    stack = [_list_folder(folder, on_skip)]  # a stack, not recursion: nesting may be very deep
    while stack:
        parent, names, folders = stack[-1]
        if not names:
            stack.pop()
            continue
        name = names.pop()
        if name in folders:
            stack.append(_list_folder(parent / name, on_skip))
        else:
            yield parent / name


def _list_folder(folder: Path, on_skip: OnSkip | None) -> tuple[Path, list[str], set[str]]:
    """Return the folder, its images and subfolders in reverse order, and which are subfolders.

    Only names are kept, not directory entries, to save memory in large folders.
    """
    names, folders, others = [], set(), []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower() in SYSTEM_FILES:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.add(entry.name)
                elif not _is_image(entry):
                    others.append(entry.name)
                    continue
                names.append(entry.name)
    except OSError:
        return folder, [""], set()  # yields the folder itself
    if on_skip is not None:
        for name in sorted(others):
            on_skip(folder / name)
    names.sort(reverse=True)
    return folder, names, folders


def _is_image(entry: os.DirEntry[str]) -> bool:
    if os.path.splitext(entry.name)[1].lower() not in SUFFIXES:  # noqa: PTH122, faster than Path
        return False
    return not (entry.is_symlink() and Path(entry).is_dir())
