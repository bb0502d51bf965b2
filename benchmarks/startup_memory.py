"""Measure how soon the command line answers and how much memory a training takes.

    python benchmarks/footprint.py

Writes ``benchmarks/results/footprint.json``: seconds of ``fashioncnn --help`` (11 calls after a
warm-up) and the peak resident memory of one epoch of `baseline` on Fashion-MNIST.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from seeds import use_shared_data

CALLS = 11


def seconds_of(command: list[str]) -> list[float]:
    """Return the wall-clock seconds of each of `CALLS` calls, after one that does not count."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = []
    for _ in range(CALLS):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    """Measure, print, write."""
    use_shared_data()
    program = [sys.executable, "-m", "fashioncnn"]
    answer = {}
    for name in ("--help", "train --help"):
        seconds = seconds_of([*program, *name.split()])
        answer[name] = {
            "n": CALLS,
            "median_seconds": statistics.median(seconds),
            "min_seconds": min(seconds),
            "max_seconds": max(seconds),
        }
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [*program, "train", "baseline", "--epochs", "1", "--out", str(run)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        environment = json.loads((run / "environment.json").read_text())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    result = {
        "date": date.today().isoformat(),
        "cpu": environment["cpu"],
        "cores": environment["cores"],
        "packages": environment["packages"],
        "answers": answer,
        "train_peak_memory_bytes": peak,
    }
    path = Path(__file__).parent / "results" / "footprint.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    for name, row in answer.items():
        print(f"fashioncnn {name}: median {row['median_seconds']:.3f} s, n {CALLS}")
    print(f"baseline, one epoch: peak {peak / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
