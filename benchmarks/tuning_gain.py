"""Compare hyper-parameters found by TPE, by random search, and the published ones.

    python benchmarks/tuning_gain.py                          searches, then trains seeds: hours
    python benchmarks/tuning_gain.py --minutes 60 --jobs 2 --epochs 20
    python benchmarks/tuning_gain.py --table                  print the table, train nothing

Both searches have the same time, cores, space and epochs per trial, and select on 10,000 validation
images. Trials have as many epochs as the published training, so only the hyper-parameters differ.
The best recipes and the published hyper-parameters are then trained on all 60,000 images with every
seed; the test split is read once, after training (`seeds.run_seed`). An interrupted search resumes
with its remaining time, an interrupted seed from its checkpoint. Each sampler is run once, and both
start from the published values: the intervals are those of the resulting recipes over seeds, not of
the samplers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

from common import (
    RESULTS,
    Result,
    make_parser,
    read_result,
    read_seeds,
    run_fashioncnn,
    use_shared_data,
    write_result,
)
from seeds import run_seed
from tables import format_difference, format_mean_std, markdown_table, welch_mean_difference
from tuning_overhead import training_seconds

FOLDER = RESULTS / "tuning"
SEARCHES = Path("runs") / "tuning-benchmark"
SAMPLERS = ("tpe", "random")
PUBLISHED = "published"
COLUMNS = (
    "hyper-parameters",
    "trials",
    "best validation loss",
    "n",
    "test accuracy",
    "gain [95% interval], points",
    "test loss",
    "difference [95% interval]",
)


def search(sampler: str, options: argparse.Namespace) -> None:
    """Search for the remaining time and record the outcome, unless it is recorded already."""
    path, folder = FOLDER / f"{sampler}.json", SEARCHES / sampler
    budget = {name: getattr(options, name) for name in ("minutes", "jobs", "space", "precision")}
    conditions = {**budget, "seed": options.seed, "epochs": options.epochs}
    if path.exists():
        recorded = read_result(path)
        if any(recorded[name] != value for name, value in conditions.items()):
            raise SystemExit(f"{path}: recorded with other options than {conditions}; move it away")
        return
    remaining = 60 * options.minutes - sum(training_seconds(folder).values()) / options.jobs
    document = run_search(sampler, folder, max(remaining, 1), options)
    kept = {key: document[key] for key in ("sampler", "seed", "epochs", "best", "importances")}
    outcome = {**kept, **budget, "date": str(date.today()), "trials": document["trials"]}
    write_result(path, outcome)
    shutil.copy(folder / "best.toml", FOLDER / f"{sampler}.toml")


def run_search(
    sampler: str, folder: Path, seconds: float, options: argparse.Namespace
) -> dict[str, Any]:
    """Run ``fashioncnn tune`` for about `seconds` and return its JSON document."""
    command = ["tune", "baseline", "--json", f"--out={folder}", f"--sampler={sampler}"]
    command += [
        f"--{name}={getattr(options, name)}" for name in ("seed", "space", "jobs", "epochs")
    ]
    command += [f"--timeout={seconds:.0f}s", f"--set=runtime.precision={options.precision}"]
    document: dict[str, Any] = json.loads(run_fashioncnn(*command))
    return document


def train_seeds(seeds: list[int], jobs: int, precision: str) -> None:
    """Train the published and both best hyper-parameters with every seed, on all images."""
    settings = ["training.track_test=false", "data.validation=0", f"runtime.precision={precision}"]
    recipes = {PUBLISHED: "baseline", **{s: str(FOLDER / f"{s}.toml") for s in SAMPLERS}}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = []
        for seed in seeds:
            for name, recipe in recipes.items():
                arguments = FOLDER / name / f"seed{seed}.json", recipe, seed, settings, 1
                futures.append(pool.submit(run_seed, *arguments, test=True, flip=False))
        for future in futures:
            future.result()


def print_table() -> None:
    """Print means over seeds, and differences with Welch's 95% intervals."""
    groups = {name: read_seeds(FOLDER / name) for name in (PUBLISHED, *SAMPLERS)}
    few = [name for name, results in groups.items() if len(results) < 2]
    if few:
        raise SystemExit(f"{', '.join(few)}: the table needs at least two seeds of each")
    accuracies = {name: test_values(rows, "accuracy", 100) for name, rows in groups.items()}
    losses = {name: test_values(rows, "loss", 1) for name, rows in groups.items()}
    rows = [
        (
            name,
            *search_cells(name),
            str(len(results)),
            f"{format_mean_std(accuracies[name], 1, 2)}%",
            difference_cell(accuracies[PUBLISHED], accuracies[name], 2),
            format_mean_std(losses[name]),
            difference_cell(losses[PUBLISHED], losses[name], 4),
        )
        for name, results in groups.items()
    ]
    print(markdown_table(COLUMNS, rows))
    difference = difference_cell(accuracies["random"], accuracies["tpe"], 2)
    print(f"\nTest accuracy of TPE minus random search: {difference or '0, the same recipe'}.")


def test_values(results: list[Result], name: str, scale: float) -> list[float]:
    """Return one test metric by seed."""
    return [scale * result["test"][name] for result in results]


def difference_cell(before: list[float], after: list[float], digits: int) -> str:
    """Return the difference with its interval; empty if both are the same."""
    if before == after:
        return ""
    return format_difference(welch_mean_difference(before, after), digits)


def search_cells(name: str) -> tuple[str, str]:
    """Return the number of ended trials and the best validation loss; empty without a search."""
    if name == PUBLISHED:
        return "", ""
    recorded = read_result(FOLDER / f"{name}.json")
    ended = sum(t["state"] in ("complete", "pruned", "failed") for t in recorded["trials"])
    return str(ended), f"{recorded['best']['loss']:.4f}"


def main() -> None:
    """Run searches and seeds that are not recorded, then print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="of each search")
    parser.add_argument("--jobs", type=int, default=2, help="parallel trials, and parallel seeds")
    parser.add_argument("--epochs", type=int, default=20, help="of each trial")
    parser.add_argument("--space", default="fashion_cnn-adam", help="search space")
    parser.add_argument("--precision", default="auto", help="of all trainings")
    parser.add_argument("--seed", type=int, default=0, help="of both searches")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--table", action="store_true", help="print the table, train nothing")
    options = parser.parse_args()
    use_shared_data()
    if not options.table:
        for sampler in SAMPLERS:
            search(sampler, options)
        train_seeds(options.seeds, options.jobs, options.precision)
    print_table()


if __name__ == "__main__":
    main()
