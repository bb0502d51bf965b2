"""One table of every recipe with finished seeds, and of what others reach.

    python benchmarks/results.py

Reads ``benchmarks/results/<recipe>/seed<n>.json``, which ``benchmarks/seeds.py`` writes, and runs
nothing. The interval is Wilson's, of the mean accuracy as of one run over so many images.
"""

from __future__ import annotations

import statistics
from typing import Any

from seeds import RESULTS, mean_sd, read_results

ANCHORS = (
    ("ResNet-20 with random erasing", "0.27 M", "95.55 ± 0.04", "several runs"),
    ("Random Erasing's code, rerun on the present release", "", "95.70", "one run"),
    ("VGG8B 2×, cutout", "28 M", "95.86", ""),
    (
        "WRN-40-4, CutMix, RandAugment, EMA …",
        "8.9 M",
        "96.59",
        "one run, last epoch; 96.74 at its best",
    ),
    ("fine-tuned DARTS", "", "96.91", "a paper; recipe and seeds were not found"),
    ("pt.darts; a paper of 2024", "", "99.27; 99.65", "not credible: leaky data, or MNIST"),
)
"""Accuracy on the test part as others tell it: what, parameters, percent, how far to trust it."""
COLUMNS = (
    "recipe",
    "parameters",
    "multiply-adds",
    "seconds",
    "of",
    "n",
    "test accuracy",
    "95% interval",
    "loss",
    "ECE",
    "ECE, calibrated",
    "Shirt",
    "with mirror images",
)
SHIRT = 6


def machine_of(results: list[dict[str, Any]]) -> str:
    """Return what the seconds are of: processor, threads, precision."""
    environment = results[0]["environment"]
    cpu = environment["gpu"] or environment["cpu"].removesuffix(" Processor")
    threads = environment["threads"]
    kind = f"{threads} thread{'s' if threads > 1 else ''}, {environment['precision']}"
    return f"{cpu}, {kind}"


def row(recipe: str, results: list[dict[str, Any]]) -> str:
    """Return the table's row of one recipe."""
    from fashioncnn.config import validate
    from fashioncnn.evaluation.metrics import wilson_interval
    from fashioncnn.models import count_multiply_adds

    tests = [r["test"] for r in results]
    settings = validate({**results[0]["settings"]})
    n, accuracy = tests[0]["n"], statistics.fmean(t["accuracy"] for t in tests)
    low, high = (100 * bound for bound in wilson_interval(round(accuracy * n), n))
    summaries = [r["summary"] for r in results]
    seconds = statistics.median(s["seconds"] + s.get("teacher_seconds", 0) for s in summaries)
    tempered = [
        t["calibrated"]["ece"] for t in tests if t.get("calibrated", {}).get("temperature", 1) != 1
    ]
    cells = (
        f"`{recipe}`",
        f"{results[0]['parameters'] / 1e6:.2f} M",
        f"{count_multiply_adds(settings.model, 28, 10) / 1e6:.1f} M",
        f"{seconds:,.0f}",
        machine_of(results),
        str(len(results)),
        f"{mean_sd([t['accuracy'] for t in tests], 100, 2)}%",
        f"{low:.2f} – {high:.2f}%",
        mean_sd([t["loss"] for t in tests]),
        mean_sd([t["ece"] for t in tests]),
        mean_sd(tempered) if tempered else "–",
        f"{mean_sd([t['per_class'][SHIRT]['accuracy'] for t in tests], 100, 1)}%",
        _with_mirror_images(results),
    )
    return "| " + " | ".join(cells) + " |"


def _with_mirror_images(results: list[dict[str, Any]]) -> str:
    """Return the accuracy with mirror images; a network that answers both alike has no other."""
    if results[0]["settings"]["model"].get("symmetry") == "mirror":
        return "the same"
    flipped = [r["test_flip"]["accuracy"] for r in results if r.get("test_flip")]
    return f"{mean_sd(flipped, 100, 2)}%" if flipped else "–"


def main() -> None:
    """Print both tables."""
    print("| " + " | ".join(COLUMNS) + " |")
    print("| --- |" + " ---: |" * (len(COLUMNS) - 1))
    for folder in sorted(p for p in RESULTS.iterdir() if (p / "seed0.json").exists()):
        results = [r for r in read_results(folder) if r.get("test")]
        if results:
            print(row(folder.name, results))
    print("\n| others | parameters | test accuracy, % | |")
    print("| --- | ---: | ---: | --- |")
    for anchor in ANCHORS:
        print("| " + " | ".join(anchor) + " |")


if __name__ == "__main__":
    main()
