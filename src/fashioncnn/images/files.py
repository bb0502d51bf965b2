"""Find image files in folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fashioncnn.images.formats import SUFFIXES


def walk_images(folder: Path) -> Iterator[Path]:
    """Yield the image files under `folder`, recursively and sorted, by their suffixes.

    Hidden files and folders are skipped, and symbolic links to folders are not followed, which
    rules out cycles. Unreadable files are yielded, and so is a folder that cannot be listed, so
    that the caller's attempt to read it reports the error.
    """
    stack = [_list_folder(folder)]  # a stack, not recursion: nesting may be thousands deep
    while stack:
        parent, names, folders = stack[-1]
        if not names:
            stack.pop()
            continue
        name = names.pop()
        if name in folders:
            stack.append(_list_folder(parent / name))
        else:
            yield parent / name


def _list_folder(folder: Path) -> tuple[Path, list[str], set[str]]:
    """Return the folder, its images and subfolders in reverse order, and which are subfolders.

    Only names are kept, not directory entries, to save memory in large folders.
    """
    names, folders = [], set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.add(entry.name)
                elif not _is_image(entry):
                    continue
                names.append(entry.name)
    except OSError:
        return folder, [""], set()  # yields the folder itself
    names.sort(reverse=True)
    return folder, names, folders


def _is_image(entry: os.DirEntry[str]) -> bool:
    if os.path.splitext(entry.name)[1].lower() not in SUFFIXES:  # noqa: PTH122, faster than Path
        return False
    return not (entry.is_symlink() and Path(entry).is_dir())
