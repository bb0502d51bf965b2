"""Folders named as splits, such as ``train``, ``training_set``, ``Val`` or ``seg_test``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from fashioncnn.data.labels import natural_key
from fashioncnn.data.options import Notify
from fashioncnn.errors import DataError
from fashioncnn.images.files import SYSTEM_FILES
from fashioncnn.reading import reason

ROLES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "validate", "dev", "development"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Words for each split, alone or as a part of a name such as ``training_set`` or ``seg_train``."""
_SUFFIX = re.compile(r"(set|split|data|images?|imgs?|files?)$")
_WORDS = {word: role for role, words in ROLES.items() for word in words}


def split_role(name: str) -> str | None:
    """Return ``train``, ``validation`` or ``test`` for a name that says so, else None.

    >>> [split_role(name) for name in ("Training_Set", "valSplit", "seg_test", "trainers")]
    ['train', 'validation', 'test', None]
    """
    separated = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.findall(r"[a-z]+", separated.lower())
    roles = {_WORDS.get(word) or _WORDS.get(_SUFFIX.sub("", word)) for word in words} - {None}
    return roles.pop() if len(roles) == 1 else None


def subfolders(folder: Path) -> list[Path]:
    """Return the subfolders in natural order, without hidden ones.

    Raises:
        DataError: the folder cannot be listed.
    """
    try:
        folders = [path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path)]
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({reason(error)})") from None
    return sorted(folders, key=lambda path: natural_key(path.name))


def loose_files(folder: Path) -> list[Path]:
    """Return the files directly in a folder, sorted, without hidden ones."""
    return sorted(p for p in folder.iterdir() if not p.is_dir() and not _is_hidden(p))


def find_split_folders(folder: Path, notify: Notify) -> dict[str, Path]:
    """Return the folders of the splits by role; nothing if the subfolders are classes.

    A name means a split only if all subfolders have such names and contain folders, so that
    ``train`` can be a class of toys.

    Args:
        folder: of the dataset.
        notify: called if names of splits could be mistaken.

    Raises:
        DataError: two folders have the same role; only some of the splits contain folders; or
            splits and other folders are side by side.
    """
    folders = subfolders(folder)
    roles = [split_role(path.name) for path in folders]
    nested = [path for path in folders if subfolders(path)]
    if None in roles:
        _reject_split_among_classes(folders, nested)
        _reject_folder_among_splits(folders, nested)
    named = [path.name for path, role in zip(folders, roles, strict=True) if role]
    if None in roles or not nested:
        if len(named) > 1 or any(path.name in named for path in nested):
            notify(f"{folder}: read as classes, not as splits: {', '.join(named)}")
        return {}
    without = next((path for path in folders if path not in nested), None)
    if without is not None:
        raise DataError(
            f"{without}: no class folders; add folders of images such as "
            f"{without / subfolders(nested[0])[0].name}, or remove it"
        )
    return _by_role(folder, zip(roles, folders, strict=True))


def _by_role(folder: Path, pairs: Iterable[tuple[str | None, Path]]) -> dict[str, Path]:
    splits: dict[str, Path] = {}
    for role, path in pairs:
        assert role is not None  # noqa: S101 - for the type checker
        if role in splits:
            raise DataError(
                f"{folder}: {splits[role].name} and {path.name} are both the {role} split; keep "
                "one of them"
            )
        splits[role] = path
    return splits


def _reject_split_among_classes(folders: list[Path], nested: list[Path]) -> None:
    names = {path.name for path in folders}
    for path in nested:
        if split_role(path.name) and names & {inner.name for inner in subfolders(path)}:
            raise DataError(
                f"{path}: a {split_role(path.name)} split beside class folders; move the class "
                f"folders beside it into {path.with_name('train')}"
            )


def _reject_folder_among_splits(folders: list[Path], nested: list[Path]) -> None:
    """Reject folders beside two splits, which are recognized by the classes that they share."""
    splits = [path for path in nested if split_role(path.name)]
    names = [{inner.name for inner in subfolders(path)} for path in splits]
    for i, path in enumerate(splits):
        for other, inside in zip(splits[:i], names, strict=False):
            if split_role(path.name) != split_role(other.name) and inside & names[i]:
                beside = next(one for one in folders if split_role(one.name) is None)
                raise DataError(
                    f"{beside}: beside the splits {other.name} and {path.name}; move it elsewhere, "
                    "or rename it if it is a split"
                )


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in SYSTEM_FILES
