"""The images of a job, listed once in numbered files, so that each shard is the same every time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fashioncnn.cluster.job import utf8
from fashioncnn.errors import DataError, FashionCNNError, UsageError
from fashioncnn.files import atomic_file
from fashioncnn.inference.sources import ImageSource
from fashioncnn.reading import open_regular

COLUMNS = pa.schema([("name", pa.binary()), ("error", pa.string()), ("found", pa.bool_())])


@dataclass(frozen=True)
class Input:
    """One image of a job.

    Attributes:
        name: of the file, as it appears in predictions.
        error: why there is no image; None if it has to be read.
        found: whether the source exists.
    """

    name: str
    error: str | None = None
    found: bool = True

    def to_source(self, folder: Path) -> ImageSource:
        """Return the image as a source; relative names are relative to `folder`."""
        if self.error is None:
            return ImageSource(self.name, folder / self.name)
        kind = DataError if self.found else UsageError
        return ImageSource(self.name, kind(self.error))


@dataclass(frozen=True)
class Listing:
    """What was listed.

    Attributes:
        images: number of images.
        sha256: of their names, in order.
        probe: name of the first image that exists.
    """

    images: int
    sha256: str
    probe: str


OnShard = Callable[[int, list[Input]], None]
"""Called with the number and the images of each shard."""


def list_inputs(
    sources: Iterable[ImageSource], shard_size: int, on_shard: OnShard | None = None
) -> Listing:
    """List all images; only those of one shard are in memory.

    Args:
        sources: of the images.
        shard_size: images per shard.
        on_shard: called with each shard.

    Raises:
        UsageError: there is no image, or a source that only this process can read.
    """
    remaining = map(_to_input, sources)
    digest, images, probe, problem = hashlib.sha256(), 0, None, None
    shard = 0
    while inputs := list(islice(remaining, shard_size)):
        for given in inputs:
            digest.update(json.dumps([given.name, given.error, given.found]).encode() + b"\n")
            if given.error is None:
                probe = probe or given.name
            else:
                problem = problem or given.error
        if on_shard is not None:
            on_shard(shard, inputs)
        images += len(inputs)
        shard += 1
    if probe is None:
        raise UsageError(f"predict: no image found{f' ({problem})' if problem else ''}")
    return Listing(images, digest.hexdigest(), probe)


def write_inputs(path: Path, inputs: list[Input]) -> None:
    """Write the images of a shard, atomically; raises `WriteError`."""
    names = [os.fsencode(given.name) for given in inputs]
    errors = [None if given.error is None else utf8(given.error) for given in inputs]
    columns = [names, errors, [given.found for given in inputs]]
    arrays = [pa.array(values, kind.type) for values, kind in zip(columns, COLUMNS, strict=True)]
    with atomic_file(path) as file:
        pq.write_table(pa.table(arrays, schema=COLUMNS), file, compression="zstd")


def read_inputs(path: Path) -> list[Input]:
    """Return the images of a shard.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with open_regular(path) as file:
            columns = pq.read_table(file, schema=COLUMNS).to_pydict()
    except (OSError, pa.ArrowException) as error:
        problem = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read ({problem})") from None
    rows = zip(columns["name"], columns["error"], columns["found"], strict=True)
    return [Input(os.fsdecode(name), error, found) for name, error, found in rows]


def _to_input(source: ImageSource) -> Input:
    if isinstance(source.content, Path):
        return Input(source.name)
    if isinstance(source.content, FashionCNNError):
        found = not isinstance(source.content, UsageError)
        return Input(source.name, str(source.content), found)
    what = "standard input" if isinstance(source.content, bytes) else "an IDX file"
    raise UsageError(f"{source.name}: {what}, which --ray does not read; predict it without --ray")
