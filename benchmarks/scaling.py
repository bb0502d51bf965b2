"""Measure how epoch time and memory scale with the number of images, and time with threads.

    python benchmarks/scaling.py

Trains `baseline` for one epoch on 1, 2, 4 and 8 times the 60,000 images of Fashion-MNIST, each copy
shifted by another pixel or two, read from IDX files by ``fashioncnn train`` in a process of its
own; then on the 60,000 with every number of threads. Sizes and threads are interleaved in rounds,
after one run that is not counted; the tables show medians. Writes
``benchmarks/results/scaling.json``. A call that is interrupted keeps its measurements in
``runs/unfinished``, where the next one continues.
"""

from __future__ import annotations

import json
import os
import statistics
import struct
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import (
    RESULTS,
    Measurements,
    Result,
    make_parser,
    run_fashioncnn,
    use_shared_data,
    write_result,
)
from fashioncnn.data.dataset import Split
from fashioncnn.data.load import load_dataset
from tables import markdown_table

COPIES = (1, 2, 4, 8)
SHIFTS = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, -1), (0, 2))
"""Vertical and horizontal shift of each copy, in pixels."""
Epochs = list[dict[str, float]]
"""Seconds and peak memory, one entry per round."""


def write_copies(train: Split, copies: int, folder: Path) -> None:
    """Write `copies` shifted copies of the images, with labels, as a folder of IDX files."""
    folder.mkdir()
    images = np.concatenate([np.roll(train.images, s, (1, 2)) for s in SHIFTS[:copies]])
    write_idx(folder / "train-images-idx3-ubyte", images)
    write_idx(folder / "train-labels-idx1-ubyte", np.tile(train.labels, copies))


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write an array in the IDX format (see `fashioncnn.data.idx`)."""
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    with path.open("wb") as file:
        file.write(header)
        values.tofile(file)


def train_one_epoch(data: Path, threads: int) -> dict[str, float]:
    """Return seconds and peak memory of one epoch, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = ["train", "baseline", "--no-track-test", "--validation", "0", "--epochs", "1"]
        command += ["--data", str(data), "--threads", str(threads), "--out", str(run)]
        run_fashioncnn(*command)
        summary = json.loads((run / "metrics.json").read_text())["summary"]
        record = json.loads((run / "history.jsonl").read_text())
    return {"seconds": record["seconds"], "peak_memory_bytes": summary["peak_memory_bytes"]}


def measure(
    train: Split, rounds: int, cores: int, recorded: Measurements
) -> tuple[dict[int, Epochs], ...]:
    """Return measurements by number of copies, and by number of threads.

    Args:
        train: the images of which copies are made.
        rounds: of measurements.
        cores: the largest number of threads.
        recorded: keeps each of them.
    """
    sizes: dict[int, Epochs] = {copies: [] for copies in COPIES}
    threads: dict[int, Epochs] = {n: [] for n in range(1, cores + 1)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for copies in COPIES:
            write_copies(train, copies, folder / str(copies))
        train_one_epoch(folder / "1", cores)  # not counted: reads the files into the page cache
        for number in range(1, rounds + 1):
            for copies, epochs in sizes.items():
                key = f"round {number}/{rounds}: {copies} × the images"
                train_copies = partial(train_one_epoch, folder / str(copies), cores)
                epochs.append(recorded.measure(key, train_copies))
            for n, epochs in threads.items():
                key = f"round {number}/{rounds}: {n} of {cores} threads"
                epochs.append(recorded.measure(key, partial(train_one_epoch, folder / "1", n)))
    return sizes, threads


def to_markdown(result: Result) -> str:
    """Return both tables."""
    sizes, threads = result["sizes"], result["threads"]
    first, single = _median(sizes[1], "seconds"), _median(threads[1], "seconds")
    size_rows = []
    for copies, measurements in sizes.items():
        seconds, peak = (_median(measurements, key) for key in ("seconds", "peak_memory_bytes"))
        size_rows.append(
            (
                f"{copies * result['images']:,}",
                f"{seconds:.1f}",
                f"{seconds / copies / first:.3f}",
                f"{peak / 1e6:,.0f}",
                f"{(peak - copies * result['pixels']) / 1e6:,.0f}",
            )
        )
    thread_rows = []
    for n, measurements in threads.items():
        seconds = _median(measurements, "seconds")
        thread_rows.append((str(n), f"{seconds:.1f}", f"{single / seconds:.2f}"))
    columns = (
        "images",
        "s per epoch",
        "time per image, relative",
        "peak, MB",
        "without pixels, MB",
    )
    by_size = markdown_table(columns, size_rows, left=())
    by_threads = markdown_table(("threads", "s per epoch", "speed-up"), thread_rows, left=())
    return f"{by_size}\n\n{by_threads}"


def _median(measurements: Epochs, key: str) -> float:
    return statistics.median(measurement[key] for measurement in measurements)


def main() -> None:
    """Measure, record, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    use_shared_data()
    train = load_dataset(os.environ.get("FASHIONCNN_DATA")).train
    recorded = Measurements("scaling", rounds=rounds, images=len(train))
    sizes, threads = measure(train, rounds, recorded.started["cores"], recorded)
    result = {
        **recorded.started,
        "rounds": rounds,
        "pixels": int(train.images.nbytes),
        "images": len(train),
        "sizes": sizes,
        "threads": threads,
    }
    write_result(RESULTS / "scaling.json", result)
    recorded.finish()
    print(to_markdown(result))


if __name__ == "__main__":
    main()
