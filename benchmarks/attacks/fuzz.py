"""Coverage-guided mutation of the input of one parser, with Atheris; started by `parsers.py`.

Usage: ``fuzz.py PARSER FOLDER [options of libFuzzer]``.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fashioncnn"], enable_loader_override=False):
    from fashioncnn.artifacts.model_folder import read_description
    from fashioncnn.config import read_settings
    from fashioncnn.data import npz, tables
    from fashioncnn.data.idx import read_idx, stream_idx_images
    from fashioncnn.data.options import LoadOptions, ignore
    from fashioncnn.errors import FashionCNNError
    from fashioncnn.evaluation.predictions import load_predictions
    from fashioncnn.images.decoding import read_image
    from fashioncnn.inference.sources import read_list
    from fashioncnn.runs import RunFolder
    from fashioncnn.tuning.journal import repair_journal

MAX_PIXELS = 100_000


def from_file(name: str, *read: Callable[[Path], object]) -> Callable[[bytes], None]:
    """Return a parser of bytes from parsers of a file."""

    def parse(content: bytes) -> None:
        path = Path(name)
        for each in read:
            path.write_bytes(content)
            try:
                each(path)
            except FashionCNNError as error:
                require_one_line(error)

    return parse


def require_one_line(error: FashionCNNError) -> None:
    """Raise `AssertionError` for an error of several lines."""
    if "\n" in str(error):
        raise AssertionError(f"several lines: {error}")


def parse_image(content: bytes) -> None:
    """Decode an image."""
    try:
        image = read_image(io.BytesIO(content), "image", max_pixels=MAX_PIXELS)
    except FashionCNNError as error:
        require_one_line(error)
    else:
        if image.width * image.height > MAX_PIXELS:
            raise AssertionError(f"{image.width}×{image.height} pixels")


def parse_list(content: bytes) -> None:
    """Read a list of names."""
    try:
        list(read_list(io.BytesIO(content)))
    except FashionCNNError as error:
        require_one_line(error)


PARSERS = {
    "idx": from_file(
        "idx", lambda path: read_idx(path, 3), lambda path: [*stream_idx_images(path)]
    ),
    "image": parse_image,
    "settings": from_file("config.toml", read_settings),
    "model": from_file("config.json", lambda path: read_description(path.parent)),
    "history": from_file("history.jsonl", lambda path: RunFolder(path.parent).read_history()),
    "metrics": from_file("metrics.json", lambda path: RunFolder(path.parent).read_metrics()),
    "predictions": from_file("predictions.npz", load_predictions),
    "journal": from_file("journal.log", repair_journal),
    "list": parse_list,
    "table": from_file(
        "table.csv", lambda path: tables.read_table_file(path, LoadOptions(notify=ignore))
    ),
    "archive": from_file("arrays.npz", npz.read_npz),
}


def main() -> None:
    """Mutate the files in a folder until the options of libFuzzer end that."""
    name, folder, *options = sys.argv[1:]
    os.chdir(folder)
    atheris.Setup([sys.argv[0], *options, "seeds"], PARSERS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
