"""Load the dataset of a command, with progress and notes on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fashioncnn.cli.console import note
from fashioncnn.data.dataset import FASHION_MNIST_CLASSES, SKETCHES, Dataset
from fashioncnn.data.download import fetch_fashion_mnist
from fashioncnn.data.idx_folders import find_idx_files
from fashioncnn.data.load import fetch_rehearsal, load_dataset
from fashioncnn.data.options import CheckClasses, ClassMap, accept_classes, without_progress
from fashioncnn.errors import DataError
from fashioncnn.images.unreadable import UnreadableImagesError
from fashioncnn.images.views import ViewMode


def load_for(
    source: str | None,
    image_size: int | None,
    *,
    offline: bool = False,
    for_evaluation: bool = False,
    skip_broken: bool = False,
    class_names: tuple[str, ...] = (),
    views: ViewMode = "plain",
    channels: int = 1,
    hold_out_min: int = 0,
    class_map: ClassMap | None = None,
    check_classes: CheckClasses = accept_classes,
) -> Dataset:
    """Return the dataset at `source`; download Fashion-MNIST, with a progress bar, for None.

    Notes are printed about files that were skipped, and about a dataset that could be mistaken for
    Fashion-MNIST. Files that cannot be read are listed, one per line. Arguments and errors are
    those of `fashioncnn.data.load.load_dataset`.
    """
    progress = sys.stderr.isatty()
    if not source:
        fetch_fashion_mnist(offline=offline, notify=note, progress=progress)
    fetch_rehearsal(class_map, offline=offline, notify=note, progress=progress)
    try:
        dataset = load_dataset(
            source,
            image_size=image_size,
            offline=offline,
            for_evaluation=for_evaluation,
            skip_broken=skip_broken,
            class_names=class_names,
            notify=note,
            views=views,
            channels=channels,
            hold_out_min=hold_out_min,
            class_map=class_map,
            check_classes=check_classes,
            track=_track if progress else without_progress,
        )
    except UnreadableImagesError as error:
        if error.count > 1:
            for message in error.listed:
                note(message)
            raise DataError(f"{source}: {error.summary}, or skip them with --skip-broken") from None
        raise DataError(f"{error.listed[0]}, or skip it with --skip-broken") from None
    if dataset.name == SKETCHES:
        note("sketches: synthetic drawings, this is not Fashion-MNIST")
    elif dataset.class_names != FASHION_MNIST_CLASSES and _has_idx_files(Path(dataset.source)):
        note(f"{dataset.source}: not the official Fashion-MNIST files, loaded as '{dataset.name}'")
    return dataset


def _track(results: Iterable[Any], total: int) -> Iterator[Any]:
    """Yield the results of reading image files and show their progress."""
    from fashioncnn.cli.image_bar import image_bar

    with image_bar() as bar:
        yield from bar.track(results, total, description="reading")


def _has_idx_files(path: Path) -> bool:
    return path.is_dir() and bool(find_idx_files(path))
