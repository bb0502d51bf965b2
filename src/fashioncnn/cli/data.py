"""``fashioncnn data``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.cli.file_errors import check_file, writing
from fashioncnn.cli.options import Switch, number
from fashioncnn.errors import DataError, UsageError
from fashioncnn.settings import SCHEMA

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset, Split


def data(
    source: str | None = None,
    /,
    *,
    data: Annotated[str | None, Parameter(name="--data")] = None,
    sheet: Path | None = None,
    split: Literal["train", "validation", "test"] = "train",
    image_size: Annotated[int | None, number(int, minimum=8, maximum=256)] = None,
    skip_broken: Switch = False,
    refresh: Switch = False,
    offline: Switch = False,
    json: Switch = False,
) -> None:
    """Locate, download and verify the data; write a contact sheet.

    Parameters
    ----------
    source
        Folder with a subfolder of images per class, perhaps within folders of splits; folder of
        IDX files; CSV or .npz file; or 'sketches'. Default: FASHIONCNN_DATA, else Fashion-MNIST
        from the cache or a download.
    data
        Same as SOURCE, as in the other commands.
    sheet
        Write a contact sheet to this file, a PNG with images of every class.
    split
        Split to show on the contact sheet.
    image_size
        Resize images to this side, in pixels. Default: 28 for image files.
    skip_broken
        List image files that cannot be read, and leave them out.
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
    dataset = load_for(location, image_size, offline=offline, skip_broken=skip_broken)
    _require_image_size(dataset, image_size)
    if sheet is not None:
        _write_sheet(dataset, split, sheet)
    if json:
        print_json(_description(dataset))
    else:
        _print_counts(dataset)


def _require_image_size(dataset: Dataset, image_size: int | None) -> None:
    size = dataset.image_size
    if image_size not in (None, size):
        raise UsageError(
            f"--image-size {image_size}: only image files and tables are resized; images of "
            f"{dataset.source} are {size}×{size}; omit it"
        )


def _write_sheet(dataset: Dataset, split: str, path: Path) -> None:
    from fashioncnn.data.contact_sheet import draw_contact_sheet
    from fashioncnn.files import remove_temporary_files, write_png

    if split not in dataset.splits:
        available = " or ".join(dataset.splits)
        raise DataError(f"{dataset.source}: no {split} split; use --split {available}")
    images = dataset.splits[split]
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
        "image_size": dataset.image_size,
        "splits": {
            name: {
                "n": len(split),
                "per_class": _counts(split, classes),
                "sha256": split.sha256,
                "official": dataset.is_official_split(name),
            }
            for name, split in dataset.splits.items()
        },
    }


def _print_counts(dataset: Dataset) -> None:
    from fashioncnn.data.dataset import FASHION_MNIST
    from fashioncnn.reporting.tables import Table

    splits, classes = dataset.splits, len(dataset.class_names)
    counts = {name: _counts(split, classes) for name, split in splits.items()}
    rows = [
        (f"{label}  {name}", *(f"{of_split[label]:,}" for of_split in counts.values()))
        for label, name in enumerate(dataset.class_names)
    ]
    rows.append(("total", *(f"{sum(of_split):,}" for of_split in counts.values())))
    side = dataset.image_size
    kind = "color" if dataset.train.images.ndim == 4 else "grayscale"
    description = f"{dataset.source}: {kind}, {side}×{side}"
    official = [name for name in splits if dataset.is_official_split(name)]
    if dataset.name == FASHION_MNIST:
        description += ", SHA-256 verified"
    elif official:
        description += f"; the {official[0]} split is that of Fashion-MNIST, SHA-256 verified"
    heading = ("Class", *(name.capitalize() for name in splits))
    print_tables([Table(dataset.name, heading, tuple(rows), note=description)])


def _counts(split: Split, classes: int) -> list[int]:
    """Return the number of images of each class."""
    return [int((split.labels == label).sum()) for label in range(classes)]
