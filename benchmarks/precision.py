"""What bf16 and our kernels give, each and together, on this processor.

    python benchmarks/precision.py
    python benchmarks/precision.py accurate --threads 1 --rounds 3

Trains each recipe with ``fashioncnn bench train`` in fp32 and bf16, with PyTorch's kernels and
ours, a process for each, in turns, round after round; printed are the medians of the rounds. Writes
``benchmarks/results/precision.json``, and changes only the recipes in it that were measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

from fashioncnn.runtime import available_cores, cpu_name

RESULT = Path(__file__).parent / "results" / "precision.json"
RECIPES = ("baseline", "fast93", "fast94", "accurate")
WAYS = [(precision, kernels) for precision in ("fp32", "bf16") for kernels in ("torch", "native")]
COUNTED, SECONDS = 3, 2.0
"""Rounds of each process after one that does not count, and how long each learns."""


def measure(recipe: str, precision: str, kernels: str, threads: int) -> float:
    """Return images per second, the median of a process."""
    command = [sys.executable, "-m", "fashioncnn", "bench", "train", recipe, "--json"]
    command += ["--precision", precision, "--kernels", kernels, "--threads", str(threads)]
    command += ["--rounds", str(COUNTED), "--seconds", str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)["images_per_second"])


def table(results: dict[str, Any]) -> str:
    """Return the rates of all recipes, and how many times the first way's each is."""
    titles = [f"{precision}, {kernels}" for precision, kernels in WAYS]
    lines = ["| recipe | threads | " + " | ".join(titles) + " |"]
    lines.append("| --- |" + " ---: |" * (1 + len(WAYS)))
    for recipe, result in results.items():
        rates = [result["images_per_second"][title] for title in titles]
        cells = []
        for own in rates:
            times = statistics.median(a / b for a, b in zip(own, rates[0], strict=True))
            cells.append(f"{statistics.median(own):,.0f} ({times:.2f})")
        lines.append(f"| `{recipe}` | {result['threads']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, keep, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=available_cores())
    options = parser.parse_args()
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for recipe in options.recipes:
        rates: dict[str, list[float]] = {", ".join(way): [] for way in WAYS}
        for _ in range(options.rounds):
            for way in WAYS:
                rates[", ".join(way)].append(measure(recipe, *way, options.threads))
        results[recipe] = {
            "date": date.today().isoformat(),
            "cpu": cpu_name(),
            "cores": available_cores(),
            "threads": options.threads,
            "images_per_second": rates,
        }
        RESULT.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
