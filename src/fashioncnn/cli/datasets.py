"""Find the data for a command, and say what a reader must know about it."""

from __future__ import annotations

import sys
from pathlib import Path

from fashioncnn.cli.console import note
from fashioncnn.data.dataset import FASHION_MNIST, SKETCHES, Dataset
from fashioncnn.data.sources import fetch_fashion_mnist, find_idx_files, load_dataset


def load_for(source: str | None, image_size: int | None, *, offline: bool = False) -> Dataset:
    """Return the data set, fetching Fashion-MNIST with a bar where no source is named."""
    if not source:
        fetch_fashion_mnist(offline=offline, notify=note, progress=sys.stderr.isatty())
    dataset = load_dataset(source, image_size=image_size, offline=offline)
    if dataset.name == SKETCHES:
        note("sketches: drawn by the program itself, this is not Fashion-MNIST")
    elif dataset.name != FASHION_MNIST and find_idx_files(Path(dataset.source)):
        note(f"{dataset.source}: not the official Fashion-MNIST files, taken as '{dataset.name}'")
    return dataset
