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
    from PIL.Image import Image

    from fashioncnn.data.dataset import Dataset, Split
    from fashioncnn.reporting.tables import Table


def data(
    source: str | None = None,
    /,
    *,
    data: Annotated[str | None, Parameter(name="--data")] = None,
    sheet: Path | None = None,
    split: Literal["train", "validation", "test"] = "train",
    image_size: Annotated[int | None, number(int, minimum=8, maximum=256)] = None,
    skip_broken: Switch = False,
    duplicates: Switch = False,
    similarity: Annotated[float | None, number(float, minimum=0.9, maximum=1)] = None,
    refresh: Switch = False,
    offline: Switch = False,
    json: Switch = False,
) -> None:
    """Locate, download and verify the data; write a contact sheet; count duplicates.

    Args:
        source: Folder with a subfolder of images per class, perhaps within folders of splits;
            folder of IDX files; CSV or .npz file; or 'sketches'. Default: FASHIONCNN_DATA, else
            Fashion-MNIST from the cache or a download.
        data: Same as SOURCE, as in the other commands.
        sheet: Write a contact sheet to this file, a PNG with images of every class.
        split: Split to show on the contact sheet.
        image_size: Resize images to this side, in pixels. Default: 28 for image files.
        skip_broken: List image files that cannot be read, and leave them out.
        duplicates: Count images that occur more than once, within a split or in two of them,
            exactly or nearly; the contact sheet shows pairs.
        similarity: Correlation of the pixels from which images are near-duplicates, 0.9 to 1.
            Default: 0.99.
        refresh: Verify the cached files, and download missing or damaged ones again.
        offline: Do not download data.
        json: Print the description as one JSON document.
    """
    from fashioncnn.cli.data_duplicates import (
        draw_duplicates,
        duplicates_table,
        find_duplicates,
    )
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.data.download import fetch_fashion_mnist

    _check_options(sheet, split, duplicates, similarity)
    if sheet is not None:
        _check_sheet(sheet, source or data)
    location = _location(source, data, refresh=refresh)
    if refresh:
        fetch_fashion_mnist(
            refresh=True, offline=offline, notify=note, progress=sys.stderr.isatty()
        )
    dataset = load_for(location, image_size, offline=offline, skip_broken=skip_broken)
    _require_image_size(dataset, image_size)
    found = find_duplicates(dataset, similarity) if duplicates else None
    if sheet is not None:
        drawn = _draw_split(dataset, split) if found is None else draw_duplicates(dataset, found)
        _write_sheet(drawn, sheet)
    if json:
        extra = {} if found is None else {"duplicates": [d.to_json() for d in found]}
        print_json(_description(dataset) | extra)
    else:
        tables = [] if found is None else [duplicates_table(found)]
        print_tables([_counts_table(dataset), *tables])


def _check_options(
    sheet: Path | None, split: str, duplicates: bool, similarity: float | None
) -> None:
    """Raise `UsageError` for options that have no effect."""
    if sheet is None and split != "train":
        raise UsageError(f"--split {split}: applies to the contact sheet; add --sheet FILE.png")
    if duplicates and split != "train":
        raise UsageError(f"--split {split}: --duplicates compares all splits; omit it")
    if similarity is not None and not duplicates:
        raise UsageError(f"--similarity {similarity:g}: applies to duplicates; add --duplicates")


def _check_sheet(sheet: Path, source: str | None) -> None:
    """Reject a contact sheet that cannot be written, or would be one of the images."""
    if sheet.suffix.lower() != ".png":
        raise UsageError(f"--sheet {sheet}: should end in .png")
    check_file("--sheet", sheet)
    folder = Path(source or "").resolve()
    if source and folder.is_dir() and folder in sheet.resolve().parent.parents:
        raise UsageError(
            f"--sheet {sheet}: is inside {source}, whose images are read; name a file elsewhere"
        )


def _location(source: str | None, data: str | None, *, refresh: bool) -> str | None:
    """Return where the data is; None for Fashion-MNIST from the cache or a download."""
    from fashioncnn.config import source_from_environment

    if source and data and source != data:
        raise UsageError(f"{source} and --data {data}: conflicting sources; give one of them")
    if refresh and (source or data):
        raise UsageError(
            f"--refresh: applies to the cached Fashion-MNIST, not to {source or data}; omit one"
        )
    return source or data or (None if refresh else source_from_environment())


def _require_image_size(dataset: Dataset, image_size: int | None) -> None:
    size = dataset.image_size
    if image_size not in (None, size):
        raise UsageError(
            f"--image-size {image_size}: only image files and tables are resized; images of "
            f"{dataset.source} are {size}×{size}; omit it"
        )


def _draw_split(dataset: Dataset, split: str) -> Image:
    from fashioncnn.data.contact_sheet import draw_contact_sheet

    if split not in dataset.splits:
        available = " or ".join(dataset.splits)
        raise DataError(f"{dataset.source}: no {split} split; use --split {available}")
    images = dataset.splits[split]
    title = f"{dataset.name}, {split} split, {len(images):,} images"
    return draw_contact_sheet(images, dataset.class_names, title)


def _write_sheet(sheet: Image, path: Path) -> None:
    from fashioncnn.files import remove_temporary_files, write_png

    with writing("--sheet", path):
        remove_temporary_files(path.parent, path.name)
        write_png(path, sheet)
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


def _counts_table(dataset: Dataset) -> Table:
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
    return Table(dataset.name, heading, tuple(rows), note=description)


def _counts(split: Split, classes: int) -> list[int]:
    """Return the number of images of each class."""
    return [int((split.labels == label).sum()) for label in range(classes)]
