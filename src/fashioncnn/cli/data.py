"""``fashioncnn data``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.cli.file_errors import check_file, writing
from fashioncnn.cli.options import Switch, number
from fashioncnn.errors import UsageError
from fashioncnn.settings import SCHEMA

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset, Split


def data(
    source: str | None = None,
    /,
    *,
    data: Annotated[str | None, Parameter(name="--data")] = None,
    sheet: Path | None = None,
    split: Literal["train", "test"] = "train",
    image_size: Annotated[int | None, number(int, minimum=8, maximum=256)] = None,
    refresh: Switch = False,
    offline: Switch = False,
    json: Switch = False,
) -> None:
    """Locate, download and verify the data; write a contact sheet.

    Parameters
    ----------
    source
        Folder of IDX files, folder with a subfolder of images per class, or 'sketches'.
        Default: FASHIONCNN_DATA, else Fashion-MNIST from the cache or a download.
    data
        Same as SOURCE, as in the other commands.
    sheet
        Write a contact sheet to this file, a PNG with images of every class.
    split
        Split to show on the contact sheet.
    image_size
        Resize images of class folders to this side, in pixels. Default: 28.
    refresh
        Verify the cached files, and download missing or damaged ones again.
    offline
        Do not download data.
    json
        Print the description as one JSON document.
    """
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.config import source_from_environment
    from fashioncnn.data.download import fetch_fashion_mnist

    if sheet is None and split != "train":
        raise UsageError(f"--split {split}: applies to the contact sheet; add --sheet FILE.png")
    if sheet is not None:
        check_file("--sheet", sheet)
    if source and data and source != data:
        raise UsageError(f"{source} and --data {data}: conflicting sources; give one of them")
    if refresh and (source or data):
        raise UsageError(
            f"--refresh: applies to the cached Fashion-MNIST, not to {source or data}; omit one"
        )
    if refresh:
        fetch_fashion_mnist(
            refresh=True, offline=offline, notify=note, progress=sys.stderr.isatty()
        )
    location = source or data or (None if refresh else source_from_environment())
    dataset = load_for(location, image_size, offline=offline)
    _require_image_size(dataset, image_size)
    if sheet is not None:
        _write_sheet(dataset, split, sheet)
    if json:
        print_json(_description(dataset))
    else:
        _print_counts(dataset)


def _require_image_size(dataset: Dataset, image_size: int | None) -> None:
    size = dataset.train.images.shape[1]
    if image_size not in (None, size):
        raise UsageError(
            f"--image-size {image_size}: only images of class folders are resized; those of "
            f"{dataset.source} are {size}×{size}; omit it"
        )


def _write_sheet(dataset: Dataset, split: str, path: Path) -> None:
    from fashioncnn.data.contact_sheet import draw_contact_sheet
    from fashioncnn.files import remove_temporary_files, write_png

    images = dataset.train if split == "train" else dataset.require_test()
    title = f"{dataset.name}, {split} split, {len(images):,} images"
    with writing("--sheet", path):
        remove_temporary_files(path.parent, path.name)
        write_png(path, draw_contact_sheet(images, dataset.class_names, title))
    note(f"contact sheet: {path}")


def _description(dataset: Dataset) -> dict[str, object]:
    from fashioncnn.data.dataset import FASHION_MNIST

    classes = len(dataset.class_names)
    return {
        "schema": SCHEMA,
        "name": dataset.name,
        "source": dataset.source,
        "official": dataset.name == FASHION_MNIST,
        "classes": list(dataset.class_names),
        "image_size": int(dataset.train.images.shape[1]),
        "splits": {
            name: {
                "n": len(split),
                "per_class": _counts(split, classes),
                "sha256": split.sha256,
            }
            for name, split in dataset.splits.items()
        },
    }


def _print_counts(dataset: Dataset) -> None:
    from fashioncnn.data.dataset import FASHION_MNIST
    from fashioncnn.reporting.tables import Table

    classes = len(dataset.class_names)
    train = _counts(dataset.train, classes)
    test = _counts(dataset.test, classes)
    rows = [
        (f"{label}  {name}", f"{train[label]:,}", f"{test[label]:,}")
        for label, name in enumerate(dataset.class_names)
    ]
    rows.append(("total", f"{sum(train):,}", f"{sum(test):,}"))
    side = dataset.train.images.shape[1]
    verified = ", SHA-256 verified" if dataset.name == FASHION_MNIST else ""
    description = f"{dataset.source}: grayscale, {side}×{side}{verified}"
    print_tables([Table(dataset.name, ("Class", "Train", "Test"), tuple(rows), note=description)])


def _counts(split: Split | None, classes: int) -> list[int]:
    """Return the number of images of each class; zeros for a missing split."""
    return [0 if split is None else int((split.labels == label).sum()) for label in range(classes)]
