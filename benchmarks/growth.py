"""How time and memory grow with the images, and what a second thread gives.

    python benchmarks/growth.py

Trains `baseline` for one epoch on 1, 2, 4 and 8 times the 60,000 images of Fashion-MNIST, each
copy shifted by another pixel or two, read from IDX files by ``fashioncnn train`` in a process of
its own; then on the 60,000 again with every number of threads. The sizes take turns, round after
round, after a run that does not count; told are medians. Writes ``benchmarks/results/growth.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.dataset import Split
from fashioncnn.data.load import load_dataset
from fashioncnn.runtime import available_cores, cpu_name
from seeds import use_shared_data

COPIES = (1, 2, 4, 8)
SHIFTS = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, -1), (0, 2))
RESULT = Path(__file__).parent / "results" / "growth.json"


def write_copies(train: Split, copies: int, folder: Path) -> None:
    """Write so many shifted copies of the images as a folder of IDX files."""
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


def train_once(data: Path, threads: int) -> dict[str, float]:
    """Return seconds of an epoch and peak memory, from a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "fashioncnn", "train", "baseline", "--no-track-test"]
        command += ["--data", str(data), "--epochs", "1", "--threads", str(threads)]
        command += ["--validation", "0", "--out", str(run)]
        subprocess.run(command, check=True, capture_output=True)
        summary = json.loads((run / "metrics.json").read_text())["summary"]
        record = json.loads((run / "history.jsonl").read_text())
    return {"seconds": record["seconds"], "peak_memory_bytes": summary["peak_memory_bytes"]}


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    use_shared_data()
    train = load_dataset(os.environ.get("FASHIONCNN_DATA")).train
    cores = available_cores()
    sizes: dict[int, list[dict[str, float]]] = {copies: [] for copies in COPIES}
    threads: dict[int, list[dict[str, float]]] = {n: [] for n in range(1, cores + 1)}
    with tempfile.TemporaryDirectory() as folder:
        for copies in COPIES:
            write_copies(train, copies, Path(folder) / str(copies))
        train_once(Path(folder) / "1", cores)  # so that no file is cold
        for _ in range(rounds):
            for copies in COPIES:
                sizes[copies].append(train_once(Path(folder) / str(copies), cores))
            for n, records in threads.items():
                records.append(train_once(Path(folder) / "1", n))
    result = {
        "date": date.today().isoformat(),
        "cpu": cpu_name(),
        "cores": cores,
        "rounds": rounds,
        "pixels": int(train.images.nbytes),
        "images": len(train),
        "sizes": sizes,
        "threads": threads,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


def table(result: dict[str, Any]) -> str:
    """Return both tables in Markdown."""

    def middle(records: list[dict[str, float]], key: str) -> float:
        return statistics.median(record[key] for record in records)

    first = middle(result["sizes"][1], "seconds")
    lines = [
        "| images | seconds an epoch | an image's share, relative | peak, MB | without pixels |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for copies, records in result["sizes"].items():
        seconds, peak = middle(records, "seconds"), middle(records, "peak_memory_bytes")
        rest = (peak - copies * result["pixels"]) / 1e6
        lines.append(
            f"| {copies * result['images']:,} | {seconds:.1f} | {seconds / copies / first:.3f} | "
            f"{peak / 1e6:,.0f} | {rest:,.0f} |"
        )
    lines += ["", "| threads | seconds an epoch | speed-up |", "| ---: | ---: | ---: |"]
    one = middle(result["threads"][1], "seconds")
    for n, records in result["threads"].items():
        seconds = middle(records, "seconds")
        lines.append(f"| {n} | {seconds:.1f} | {one / seconds:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
