"""``fashioncnn data``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.errors import DataError, UsageError

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset, Split


def data(
    source: str | None = None,
    /,
    *,
    data: Annotated[str | None, Parameter(name="--data")] = None,
    sheet: Path | None = None,
    split: str = "train",
    image_size: int | None = None,
    refresh: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    offline: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Find, fetch and verify the data; draw a sheet of it.

    Parameters
    ----------
    source
        Folder of IDX files, folder of class folders, or 'sketches'. Default: FASHIONCNN_DATA,
        the cache, a download.
    data
        The same, as in the other commands.
    sheet
        PNG to draw, with images of every class.
    split
        Part for the sheet: train or test.
    image_size
        Side that images of class folders are brought to. Default: 28.
    refresh
        Verify the cache, and download again what is missing or wrong there.
    offline
        Never download.
    json
        Print one JSON document.
    """
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.config import source_from_environment
    from fashioncnn.data.sources import fetch_fashion_mnist

    if split not in ("train", "test"):
        raise UsageError(f"--split {split}: must be train or test")
    if sheet is None and split != "train":
        raise UsageError(f"--split {split}: is the part that --sheet draws; name a PNG for it")
    if source and data and source != data:
        raise UsageError(f"{source} and --data {data}: name one of them")
    if refresh and (source or data):
        raise UsageError(f"--refresh: is for Fashion-MNIST alone, not for {source or data}")
    if refresh:
        fetch_fashion_mnist(
            refresh=True, offline=offline, notify=note, progress=sys.stderr.isatty()
        )
    place = source or data or (None if refresh else source_from_environment())
    dataset = load_for(place, image_size, offline=offline)
    size = dataset.train.images.shape[1]
    if image_size not in (None, size):
        raise UsageError(
            f"--image-size {image_size}: only images of class folders are resized; those of "
            f"{dataset.source} are {size}×{size}"
        )
    if sheet is not None:
        _write_sheet(dataset, split, sheet)
    if json:
        print_json(_description(dataset))
    else:
        _print_counts(dataset)


def _write_sheet(dataset: Dataset, split: str, path: Path) -> None:
    from fashioncnn.data.contact_sheet import draw_contact_sheet

    part = dataset.train if split == "train" else dataset.require_test()
    title = f"{dataset.name}, {split} part, {len(part):,} images"
    try:
        draw_contact_sheet(part, dataset.class_names, title).save(path, "PNG")
    except OSError as error:
        raise DataError(f"--sheet {path}: cannot be written ({error.strerror})") from None
    note(f"sheet: {path}")


def _description(dataset: Dataset) -> dict[str, object]:
    from fashioncnn.data.dataset import FASHION_MNIST

    parts = {"train": dataset.train, "test": dataset.test}
    return {
        "schema": 1,
        "name": dataset.name,
        "source": dataset.source,
        "official": dataset.name == FASHION_MNIST,
        "classes": list(dataset.class_names),
        "image_size": int(dataset.train.images.shape[1]),
        "splits": {
            name: {
                "n": len(part),
                "per_class": _counts(part, len(dataset.class_names)),
                "sha256": part.sha256,
            }
            for name, part in parts.items()
            if part is not None
        },
    }


def _print_counts(dataset: Dataset) -> None:
    from fashioncnn.data.dataset import FASHION_MNIST
    from fashioncnn.reporting.tables import Table

    classes = len(dataset.class_names)
    train = _counts(dataset.train, classes)
    test = _counts(dataset.test, classes)
    rows = [
        (f"{code}  {name}", f"{train[code]:,}", f"{test[code]:,}")
        for code, name in enumerate(dataset.class_names)
    ]
    rows.append(("total", f"{sum(train):,}", f"{sum(test):,}"))
    side = dataset.train.images.shape[1]
    verified = ", SHA-256 verified" if dataset.name == FASHION_MNIST else ""
    note_text = f"{dataset.source}: grey, {side}×{side}{verified}"
    print_tables([Table(dataset.name, ("Class", "Train", "Test"), tuple(rows), note=note_text)])


def _counts(part: Split | None, classes: int) -> list[int]:
    return [0 if part is None else int((part.labels == code).sum()) for code in range(classes)]
