"""Measure the start-up time of the command line and the peak memory of a training.

    python benchmarks/startup_memory.py

Writes ``benchmarks/results/startup_memory.json``: wall-clock seconds of ``fashioncnn --help`` and
``fashioncnn train --help`` (11 calls each after one that is not counted), and the peak resident
memory of one epoch of `baseline` on Fashion-MNIST.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

from common import (
    RESULTS,
    Result,
    make_parser,
    measurement_context,
    run_fashioncnn,
    use_shared_data,
    write_result,
)

CALLS = 11


def startup_seconds(*arguments: str) -> Result:
    """Return statistics of the wall-clock seconds of `CALLS` calls of ``fashioncnn``."""
    run_fashioncnn(*arguments)  # not counted: reads the files into the page cache
    seconds = []
    for _ in range(CALLS):
        started = time.perf_counter()
        run_fashioncnn(*arguments)
        seconds.append(time.perf_counter() - started)
    return {
        "n": CALLS,
        "median_seconds": statistics.median(seconds),
        "min_seconds": min(seconds),
        "max_seconds": max(seconds),
    }


def train_one_epoch() -> Result:
    """Return package versions and peak memory of one epoch of `baseline`."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        run_fashioncnn("train", "baseline", "--epochs", "1", "--out", str(run))
        environment = json.loads((run / "environment.json").read_text())
        summary = json.loads((run / "metrics.json").read_text())["summary"]
    return {
        "packages": environment["packages"],
        "train_peak_memory_bytes": summary["peak_memory_bytes"],
    }


def main() -> None:
    """Measure, record, print."""
    make_parser(__doc__).parse_args()
    use_shared_data()
    startup = {name: startup_seconds(*name.split()) for name in ("--help", "train --help")}
    result = {**measurement_context(), "startup": startup, **train_one_epoch()}
    write_result(RESULTS / "startup_memory.json", result)
    for name, row in startup.items():
        print(f"fashioncnn {name}: median {row['median_seconds']:.3f} s, n = {CALLS}")
    print(f"baseline, one epoch: peak {result['train_peak_memory_bytes'] / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
