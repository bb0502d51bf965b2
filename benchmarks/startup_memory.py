"""Measure the start-up time of the command line and the peak memory of a training.

    python benchmarks/startup_memory.py

Writes ``benchmarks/results/startup_memory.json``: wall-clock and processor seconds of ``fashioncnn
--help``, ``fashioncnn train --help`` and ``import fashioncnn`` (11 processes each after one that is
not counted), and the peak resident memory of one epoch of `baseline` on Fashion-MNIST. Other
programs affect processor time less.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
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


def import_package() -> None:
    """Import the package in a process of its own."""
    subprocess.run([sys.executable, "-c", "import fashioncnn"], check=True)


def startup_seconds(start: Callable[[], object]) -> Result:
    """Return statistics of the wall-clock and processor seconds of `CALLS` calls of `start`.

    Args:
        start: runs a process to its end.
    """
    start()  # not counted: reads the files into the page cache
    seconds, cpu_seconds = [], []
    for _ in range(CALLS):
        started, cpu_started = time.perf_counter(), sum(os.times()[:4])
        start()
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(sum(os.times()[:4]) - cpu_started)
    return {
        "n": CALLS,
        "median_seconds": statistics.median(seconds),
        "min_seconds": min(seconds),
        "max_seconds": max(seconds),
        "median_cpu_seconds": statistics.median(cpu_seconds),
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
    calls: dict[str, Callable[[], object]] = {
        "fashioncnn --help": partial(run_fashioncnn, "--help"),
        "fashioncnn train --help": partial(run_fashioncnn, "train", "--help"),
        "import fashioncnn": import_package,
    }
    startup = {name: startup_seconds(call) for name, call in calls.items()}
    result = {**measurement_context(), "startup": startup, **train_one_epoch()}
    write_result(RESULTS / "startup_memory.json", result)
    for name, row in startup.items():
        print(
            f"{name}: median {row['median_seconds']:.3f} s, of the processor "
            f"{row['median_cpu_seconds']:.3f} s, n = {CALLS}"
        )
    print(f"baseline, one epoch: peak {result['train_peak_memory_bytes'] / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
