"""Print one table of all recipes with recorded seeds, and results reported by others.

    python benchmarks/results_table.py                        the bundled recipes
    python benchmarks/results_table.py accurate accurate-75   these folders of results
    python benchmarks/results_table.py --all                  experiments as well

Reads ``benchmarks/results/<name>/seed<n>.json``, written by ``benchmarks/seeds.py``; trains
nothing. The interval is Wilson's, for the mean accuracy as if of one run on the test split.
"""

from __future__ import annotations

import statistics

from common import RESULTS, Result, describe_hardware, make_parser, read_seeds
from seeds import SHIRT
from tables import format_mean_std, markdown_table

OTHERS = (
    ("ResNet-20 with random erasing", "0.27 M", "95.55 ± 0.04", "several runs"),
    ("code of Random Erasing, rerun on the present release", "", "95.70", "one run"),
    ("VGG8B 2×, cutout", "28 M", "95.86", ""),
    ("WRN-40-4, CutMix, RandAugment, EMA …", "8.9 M", "96.59", "one run, last epoch; best 96.74"),
    ("fine-tuned DARTS", "", "96.91", "a paper; recipe and seeds not found"),
    ("pt.darts; a paper of 2024", "", "99.27; 99.65", "not credible: leaked data, or MNIST"),
)
"""Test accuracy as others report it: method, parameters, percent, reliability."""
COLUMNS = (
    "recipe",
    "parameters",
    "multiply-adds",
    "training, s",
    "hardware",
    "n",
    "test accuracy",
    "95% interval",
    "loss",
    "ECE",
    "ECE, calibrated",
    "Shirt",
    "with flip TTA",
)


def recipe_row(name: str, results: list[Result]) -> tuple[str, ...]:
    """Return the cells of one recipe; every result must have test metrics."""
    from fashioncnn.config import validate
    from fashioncnn.evaluation.metrics import wilson_interval
    from fashioncnn.models import count_multiply_adds

    tests = [result["test"] for result in results]
    model = validate(results[0]["settings"]).model
    n, accuracy = tests[0]["n"], statistics.fmean(test["accuracy"] for test in tests)
    low, high = (100 * bound for bound in wilson_interval(round(accuracy * n), n))
    shirts = [test["per_class"][SHIRT]["accuracy"] for test in tests]
    return (
        f"`{name}`",
        f"{results[0]['parameters'] / 1e6:.2f} M",
        f"{count_multiply_adds(model, 28, 10) / 1e6:.1f} M",
        f"{statistics.median(training_seconds(result) for result in results):,.0f}",
        describe_hardware(results[0]["environment"]),
        str(len(results)),
        f"{format_mean_std([test['accuracy'] for test in tests], 100, 2)}%",
        f"{low:.2f} – {high:.2f}%",
        format_mean_std([test["loss"] for test in tests]),
        format_mean_std([test["ece"] for test in tests]),
        calibrated_ece(tests),
        f"{format_mean_std(shirts, 100, 1)}%",
        flip_accuracy(results),
    )


def training_seconds(result: Result) -> float:
    """Return the seconds of training, teachers that were trained first included."""
    summary = result["summary"]
    return float(summary["seconds"] + summary.get("teacher_seconds", 0))


def calibrated_ece(tests: list[Result]) -> str:
    """Return the ECE after temperature scaling; ``–`` if no temperature was fitted."""
    calibrated = [test.get("calibrated", {}) for test in tests]
    values = [c["ece"] for c in calibrated if c.get("temperature", 1) != 1]
    return format_mean_std(values) if values else "–"


def flip_accuracy(results: list[Result]) -> str:
    """Return the test accuracy with flip TTA, which changes nothing for equivariant networks."""
    if results[0]["settings"]["model"].get("flip_equivariant"):
        return "the same"
    accuracies = [r["test_flip"]["accuracy"] for r in results if r.get("test_flip")]
    return f"{format_mean_std(accuracies, 100, 2)}%" if accuracies else "–"


def main() -> None:
    """Print both tables."""
    from fashioncnn.config import recipe_names

    recorded = sorted(path.parent.name for path in RESULTS.glob("*/seed0.json"))
    parser = make_parser(__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="folders of results")
    parser.add_argument("--all", action="store_true", help="all folders with test results")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(recorded))
    if unknown:
        parser.error(f"{unknown[0]}: no recorded seeds (available: {', '.join(recorded)})")
    bundled = [name for name in recorded if name in recipe_names()]
    rows = []
    for name in options.names or (recorded if options.all else bundled):
        results = [result for result in read_seeds(RESULTS / name) if result.get("test")]
        if results:
            rows.append(recipe_row(name, results))
    print(markdown_table(COLUMNS, rows))
    columns = ("others", "parameters", "test accuracy, %", "notes")
    print(f"\n{markdown_table(columns, OTHERS, left=(0, 3))}")


if __name__ == "__main__":
    main()
