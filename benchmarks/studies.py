"""Measure the effect of one change of a recipe: equal budgets, several seeds, on validation.

    python benchmarks/studies.py augmentations --epochs 20 --jobs 2
    python benchmarks/studies.py augmentations --only flip erasing --seeds 0 1 2
    python benchmarks/studies.py networks --epochs 8 --table
    python benchmarks/studies.py accurate-study --epochs 12 --seeds 0 --only deeper

Every variant (see `study_variants`) trains on 50,000 images for the same number of epochs with the
same seeds: the same data order and, for the same network, the same initial weights. Differences
from the reference are paired by seed. The test split is never read. A finished run leaves
``benchmarks/results/<study>/<epochs>/<variant>-seed<n>.json`` and is not trained again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from common import (
    RESULTS,
    Result,
    make_parser,
    prepare_training,
    provenance,
    read_result,
    use_shared_data,
    write_result,
)
from study_variants import AUGMENTATION_SETTINGS, REFERENCE, STUDIES
from tables import format_difference, format_mean_std, markdown_table, paired_mean_difference

SHIRT = 6
COLUMNS = (
    "change",
    "n",
    "validation loss",
    "difference",
    "calibrated loss",
    "accuracy",
    "difference",
    "Shirt",
    "parameters",
    "multiply-adds",
    "training, s",
)
Runs = dict[int, Result]
"""Results of a variant by seed."""


def train_variant(study: str, variant: str, seed: int, epochs: int, threads: int) -> Path:
    """Train one variant with one seed, record its validation metrics and return the file."""
    from fashioncnn.training.run import train_model

    definition = STUDIES[study]
    settings, dataset = prepare_training(
        definition.recipe,
        flags={"seed": seed, "threads": threads, "epochs": epochs},
        assignments=[*definition.settings, *definition.variants.get(variant, [])],
    )
    trained = train_model(settings, dataset)
    path = result_path(study, variant, seed, epochs)
    content = {
        "name": variant,
        "seed": seed,
        **provenance(settings, dataset),
        "validation": trained.metrics["validation"],
        "history": trained.history,
    }
    write_result(path, content)
    return path


def result_path(study: str, variant: str, seed: int, epochs: int) -> Path:
    """Return where the result of a run is recorded."""
    name = variant.replace(", ", "-").replace(" ", "-")
    return RESULTS / study / str(epochs) / f"{name}-seed{seed}.json"


def read_runs(study: str, variant: str, epochs: int) -> Runs:
    """Return the recorded results of a variant by seed."""
    pattern = result_path(study, variant, 0, epochs).name.replace("-seed0", "-seed*")
    paths = sorted((RESULTS / study / str(epochs)).glob(pattern))
    return {result["seed"]: result for result in map(read_result, paths)}


def train_missing(variants: list[str], options: argparse.Namespace) -> None:
    """Train all variants and seeds that are not recorded, several in parallel."""
    study, epochs = options.study, options.epochs
    pairs = [(variant, seed) for seed in options.seeds for variant in variants]
    missing = [(v, s) for v, s in pairs if not result_path(study, v, s, epochs).exists()]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        futures = [
            pool.submit(train_variant, study, variant, seed, epochs, options.threads)
            for variant, seed in missing
        ]
        for done, future in enumerate(as_completed(futures), 1):
            print(f"{done} of {len(futures)}: {future.result()}", flush=True)


def print_tables(study: str, variants: list[str], epochs: int) -> None:
    """Print differences from the reference, paired by seed: overall, and by class."""
    runs = {variant: read_runs(study, variant, epochs) for variant in variants}
    reference = runs[REFERENCE]
    if not reference:
        raise SystemExit(f"{RESULTS / study}: the tables need a seed of '{REFERENCE}'")
    shared = {v: sorted(runs[v].keys() & reference.keys()) for v in variants}
    pairs = {
        variant: ([reference[s] for s in seeds], [runs[variant][s] for s in seeds])
        for variant, seeds in shared.items()
        if seeds
    }
    print(markdown_table(COLUMNS, [variant_row(v, *pair) for v, pair in pairs.items()]))
    classes = [c["name"] for c in next(iter(reference.values()))["validation"]["per_class"]]
    rows = [class_row(variant, *pair) for variant, pair in pairs.items()]
    print(f"\n{markdown_table(('change', *classes), rows)}")


def variant_row(variant: str, before: list[Result], after: list[Result]) -> tuple[str, ...]:
    """Return the cells of a variant, compared to the reference with the same seeds."""
    from fashioncnn.config import validate
    from fashioncnn.models import build_model, count_multiply_adds, count_parameters

    network = validate(after[0]["settings"]).model
    seconds = [sum(epoch["seconds"] for epoch in result["history"]) for result in after]
    shirt = difference_cell(before, after, shirt_accuracy, 1)
    if variant == REFERENCE:
        shirt = f"{statistics.fmean(shirt_accuracy(result) for result in after):.1f}%"
    return (
        label_of(variant),
        str(len(after)),
        format_mean_std([loss(result) for result in after]),
        difference_cell(before, after, loss, 4),
        calibrated_loss(after),
        f"{format_mean_std([accuracy(result) for result in after], 1, 2)}%",
        difference_cell(before, after, accuracy, 2),
        shirt,
        f"{count_parameters(build_model(network, 28, 10)):,}",
        f"{count_multiply_adds(network, 28, 10) / 1e6:.1f} M",
        f"{statistics.median(seconds):,.0f}",
    )


def class_row(variant: str, before: list[Result], after: list[Result]) -> tuple[str, ...]:
    """Return the accuracy of each class for the reference, else the differences from it."""
    cells = []
    for code in range(len(before[0]["validation"]["per_class"])):
        reference, mean = (
            statistics.fmean(class_accuracy(result, code) for result in results)
            for results in (before, after)
        )
        cells.append(f"{mean:.1f}" if variant == REFERENCE else f"{mean - reference:+.1f}")
    return variant, *cells


def difference_cell(
    before: list[Result], after: list[Result], metric: Callable[[Result], float], digits: int
) -> str:
    """Return the paired difference with its 95% interval; empty for the reference itself."""
    if before == after:
        return ""
    first, second = ([metric(result) for result in results] for results in (before, after))
    return format_difference(paired_mean_difference(first, second), digits)


def label_of(variant: str) -> str:
    """Return the name of a variant, with its strength if it is an augmentation."""
    if variant not in AUGMENTATION_SETTINGS:
        return variant
    return f"{variant} {AUGMENTATION_SETTINGS[variant][0].split('=')[1]}"


def loss(result: Result) -> float:
    """Return the validation loss, in nats."""
    return float(result["validation"]["loss"])


def accuracy(result: Result) -> float:
    """Return the validation accuracy, in percent."""
    return 100 * float(result["validation"]["accuracy"])


def class_accuracy(result: Result, code: int) -> float:
    """Return the validation accuracy of one class, in percent."""
    return 100 * float(result["validation"]["per_class"][code]["accuracy"])


def shirt_accuracy(result: Result) -> float:
    """Return the validation accuracy of Shirt, in percent."""
    return class_accuracy(result, SHIRT)


def calibrated_loss(results: list[Result]) -> str:
    """Return the mean loss after temperature scaling on validation; ``–`` if not fitted."""
    losses = [result["validation"].get("calibrated", {}).get("loss") for result in results]
    return "–" if None in losses else format_mean_std(losses)


def main() -> None:
    """Train runs that are not recorded, then print the tables."""
    parser = make_parser(__doc__)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--only", nargs="+", metavar="VARIANT")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="parallel runs")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--table", action="store_true", help="print the tables, train nothing")
    options = parser.parse_args()
    use_shared_data()
    known = STUDIES[options.study].variants
    unknown = set(options.only or ()) - known.keys()
    if unknown:
        parser.error(f"--only {min(unknown)}: no such variant (available: {', '.join(known)})")
    variants = [REFERENCE, *(options.only or known)]
    if not options.table:
        train_missing(variants, options)
    print_tables(options.study, variants, options.epochs)


if __name__ == "__main__":
    main()
