"""Load the dataset of a command, with progress and notes on stderr."""

from __future__ import annotations

import sys
from pathlib import Path

from fashioncnn.cli.console import note
from fashioncnn.data.dataset import FASHION_MNIST, SKETCHES, Dataset
from fashioncnn.data.download import fetch_fashion_mnist
from fashioncnn.data.idx_folders import find_idx_files
from fashioncnn.data.load import load_dataset


def load_for(source: str | None, image_size: int | None, *, offline: bool = False) -> Dataset:
    """Return the dataset at `source`; download Fashion-MNIST, with a progress bar, for None.

    A note is printed if the dataset could be mistaken for Fashion-MNIST. Arguments and errors are
    those of `fashioncnn.data.load.load_dataset`.
    """
    if not source:
        fetch_fashion_mnist(offline=offline, notify=note, progress=sys.stderr.isatty())
    dataset = load_dataset(source, image_size=image_size, offline=offline)
    if dataset.name == SKETCHES:
        note("sketches: synthetic drawings, this is not Fashion-MNIST")
    elif dataset.name != FASHION_MNIST and find_idx_files(Path(dataset.source)):
        note(f"{dataset.source}: not the official Fashion-MNIST files, loaded as '{dataset.name}'")
    return dataset
