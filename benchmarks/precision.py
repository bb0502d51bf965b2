"""Measure the training throughput of each precision and kernel implementation.

    python benchmarks/precision.py
    python benchmarks/precision.py accurate --threads 1 --rounds 3

Trains each recipe with ``fashioncnn bench train`` in fp32 and bf16, with PyTorch's kernels and the
compiled ones, in a process each, interleaved in rounds; the table shows medians. Writes
``benchmarks/results/precision.json``, in which only the measured recipes are replaced.
"""

from __future__ import annotations

import json
import statistics

from common import (
    RESULTS,
    Result,
    make_parser,
    measurement_context,
    read_result,
    run_fashioncnn,
    write_result,
)
from fashioncnn.environment import available_cores
from tables import markdown_table

RESULT = RESULTS / "precision.json"
RECIPES = ("baseline", "fast93", "fast94", "accurate")
VARIANTS = tuple((p, kernels) for p in ("fp32", "bf16") for kernels in ("torch", "native"))
PROCESS_ROUNDS, SECONDS = 3, 2.0
"""Rounds within a process, after one that is not counted, and the seconds of each."""


def measure(recipe: str, precision: str, kernels: str, threads: int) -> float:
    """Return images per second: the median of the rounds of one process."""
    command = ["bench", "train", recipe, "--json", "--precision", precision, "--kernels", kernels]
    command += ["--threads", str(threads), "--rounds", str(PROCESS_ROUNDS)]
    document = json.loads(run_fashioncnn(*command, "--seconds", str(SECONDS)))
    return float(document["images_per_second"])


def measure_recipe(recipe: str, rounds: int, threads: int) -> Result:
    """Return images per second by variant, a value per round."""
    rates: dict[str, list[float]] = {", ".join(variant): [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant in VARIANTS:
            rates[", ".join(variant)].append(measure(recipe, *variant, threads))
    return {**measurement_context(), "threads": threads, "images_per_second": rates}


def to_markdown(recipes: Result) -> str:
    """Return medians by recipe and variant, and ratios to the first variant, paired by round."""
    titles = [", ".join(variant) for variant in VARIANTS]
    rows = []
    for recipe, result in recipes.items():
        first = result["images_per_second"][titles[0]]
        cells = []
        for title in titles:
            rates = result["images_per_second"][title]
            ratio = statistics.median(a / b for a, b in zip(rates, first, strict=True))
            cells.append(f"{statistics.median(rates):,.0f} ({ratio:.2f})")
        rows.append((f"`{recipe}`", str(result["threads"]), *cells))
    return markdown_table(("recipe", "threads", *titles), rows)


def main() -> None:
    """Measure, record, print."""
    parser = make_parser(__doc__)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=available_cores())
    options = parser.parse_args()
    recipes: Result = read_result(RESULT)["recipes"] if RESULT.exists() else {}
    for recipe in options.recipes:
        recipes[recipe] = measure_recipe(recipe, options.rounds, options.threads)
        write_result(RESULT, {"recipes": recipes})
    print(to_markdown(recipes))


if __name__ == "__main__":
    main()
