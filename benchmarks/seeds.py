"""Train a recipe with several seeds, one thread each, and print tables of the recorded seeds.

    python benchmarks/seeds.py honest --seeds 0 1 2 3 4
    python benchmarks/seeds.py benchmarks/recipes/medium.toml --seeds 0
    python benchmarks/seeds.py baseline --name baseline-native --set runtime.kernels=native
    python benchmarks/seeds.py --table
    python benchmarks/seeds.py --compare baseline baseline-native

Several seeds train fastest side by side, one process per core: run the script twice with different
``--seeds``. Each seed trains in its run folder, ``runs/seeds/<name>/seed<n>``; an interrupted one
resumes there. A finished seed leaves ``benchmarks/results/<name>/seed<n>.json`` (settings,
environment, metrics, history) and is not trained again. The test split is read once, after
training, unless the recipe records a test curve.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import (
    RESULTS,
    RUNS,
    Result,
    make_parser,
    portable_settings,
    prepare_training,
    provenance,
    read_result,
    read_seeds,
    teacher_hashes,
    use_shared_data,
    write_result,
)
from tables import (
    format_difference,
    format_mean_std,
    markdown_table,
    mean_and_std,
    paired_mean_difference,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fashioncnn.data.dataset import Dataset
    from fashioncnn.runs import RunFolder
    from fashioncnn.settings import Settings
    from fashioncnn.training.run import TrainingResult

PUBLISHED = {
    "final_test_accuracy": 0.9269,
    "best_test_accuracy": 0.9304,
    "lowest_test_loss": 0.2126,
    "final_test_loss": 0.2549,
    "final_train_loss": 0.0952,
}
"""Published results of FashionCNN, of a single run."""
SHIRT = 6


def train_seed(
    path: Path, recipe: str, seed: int, assignments: list[str], threads: int
) -> tuple[TrainingResult, Dataset]:
    """Train one seed in its run folder, or resume it there; return the result and the dataset."""
    from fashioncnn.runs import RunFolder, create_run
    from fashioncnn.training.run import train_model

    settings, dataset = _prepare(recipe, seed, assignments, threads)
    run = RunFolder(path) if (path / "config.toml").exists() else create_run(path, settings)
    with run.lock():
        return train_model(settings, dataset, run=run), dataset


def check_same_settings(path: Path, settings: Settings) -> None:
    """Exit with a message if a recorded result was trained with other settings."""
    from fashioncnn.config import validate

    # With the official files, these make no difference to the weights.
    data = {"source", "views", "image_size"}
    ignored: Any = {"description": True, "recipe": True, "runtime": True, "data": data}
    recorded = validate(read_result(path)["settings"])
    current = validate({**portable_settings(settings), "data": settings.data.model_dump()})
    if recorded.model_dump(exclude=ignored) != current.model_dump(exclude=ignored):
        raise SystemExit(
            f"{path}: was trained with other settings than the recipe has now; move it away, or "
            "give the new results another --name"
        )


def run_seed(
    path: Path,
    recipe: str,
    seed: int,
    assignments: list[str],
    threads: int,
    *,
    test: bool,
    flip: bool = True,
) -> None:
    """Train one seed and record its result, unless it is recorded already.

    Args:
        path: of the result, ``<name>/seed<n>.json``.
        recipe: name of a bundled recipe, or path of a ``.toml`` file.
        seed: of initial weights, data order, dropout and augmentation.
        assignments: further settings, ``key=value``.
        threads: CPU threads.
        test: whether the test split is evaluated after training.
        flip: whether the splits are also evaluated with flip TTA.
    """
    from fashioncnn.runs import RunFolder

    if path.exists():
        check_same_settings(path, _prepare(recipe, seed, assignments, threads)[0])
        return
    run = RunFolder(RUNS / path.parent.name / path.stem)
    trained, dataset = train_seed(run.path, recipe, seed, assignments, threads)
    splits = ("validation", "test") if test else ("validation",)
    metrics = evaluate_splits(trained, dataset, run, splits, flip=flip)
    teachers = teacher_hashes(run.read_environment())
    content = {
        "name": path.parent.name,
        "seed": seed,
        **provenance(run.settings(), dataset),
        **({"teachers": teachers} if teachers else {}),
        "parameters": trained.model.parameters,
        "summary": trained.metrics["summary"],
        **metrics,
        "history": trained.history,
    }
    write_result(path, content)
    shown = metrics["test"] or metrics["validation"]
    print(f"{path}: {shown['split']} accuracy {shown['accuracy']:.4f}", flush=True)


def evaluate_splits(
    trained: TrainingResult,
    dataset: Dataset,
    run: RunFolder,
    splits: tuple[str, ...],
    *,
    flip: bool,
) -> Result:
    """Return the metrics of a finished run by split.

    Metrics that the run computed itself (validation, and a test split whose curve it recorded) are
    kept, in the precision of the training; all others are computed in float32, as by ``evaluate``.

    Returns:
        ``validation`` and ``test``, each None if not evaluated; with `flip` also
        ``validation_flip`` and ``test_flip`` of the evaluated splits.
    """
    from fashioncnn.inference.evaluate import evaluate_split, evaluation_splits
    from fashioncnn.inference.predictor import Predictor
    from fashioncnn.models.backend import torch_predictor

    available = evaluation_splits(dataset, run.settings())
    description, predictor = trained.model.describe(), torch_predictor(trained.model)
    flipping = Predictor(predictor.backend, predictor.spec.replace(tta="flip"))
    metrics: Result = {"validation": None, "test": None}
    for name in splits:
        if name not in available:
            continue
        arguments = description, dataset, available[name], name
        metrics[name] = trained.metrics[name] or evaluate_split(predictor, *arguments, run=run)
        if flip:
            metrics[f"{name}_flip"] = {**evaluate_split(flipping, *arguments), "tta": "flip"}
    return metrics


def published_figures(summary: Result) -> dict[str, float]:
    """Return the figures of `PUBLISHED` from the summary of a run with a test curve."""
    values = {key: summary[key] for key in PUBLISHED}
    return {k: float(v["value"] if isinstance(v, dict) else v) for k, v in values.items()}


def print_tables() -> None:
    """Print the comparison of `baseline` with the published results, and a table of recipes."""
    baseline = read_seeds(RESULTS / "baseline")
    if len(baseline) < 2:
        raise SystemExit(f"{RESULTS / 'baseline'}: the tables need at least two seeds of baseline")
    rows = [published_figures(result["summary"]) for result in baseline]
    print(f"baseline, seeds {', '.join(str(result['seed']) for result in baseline)}\n")
    figures = ("figure", "published (1 run)", "ours, mean ± std", "minimum – maximum", "z")
    print(markdown_table(figures, [_published_row(key, rows) for key in PUBLISHED]))
    gain = [row["best_test_accuracy"] - row["final_test_accuracy"] for row in rows]
    points = format_mean_std(gain, 100, 2)
    print(f"\nSelecting the epoch on the test split adds {points} percentage points.\n")
    columns = ("recipe", "selected epoch", "n", "test accuracy", "test loss", "ECE", "Shirt")
    print(markdown_table(columns, _recipe_rows(), left=(0, 1)))


def _published_row(key: str, rows: list[dict[str, float]]) -> tuple[str, ...]:
    values, published = [row[key] for row in rows], PUBLISHED[key]
    scale, digits, unit = (100, 2, "%") if "accuracy" in key else (1, 4, "")
    sample = mean_and_std(values)
    z = (published - sample.mean) / (sample.std or float("nan"))
    low, high = (f"{scale * value:.{digits}f}" for value in (min(values), max(values)))
    return (
        key.replace("_", " "),
        f"{scale * published:.{digits}f}{unit}",
        f"{format_mean_std(values, scale, digits)}{unit}",
        f"{low} – {high}{unit}",
        f"{z:+.1f}",
    )


def _recipe_rows() -> list[tuple[str, ...]]:
    from fashioncnn.config import recipe_names

    rows: list[tuple[str, ...]] = []
    for name in recipe_names():
        results = read_seeds(RESULTS / name)
        tests = [result["test"] for result in results if result["test"]]
        if not tests:
            continue
        epochs = sorted({result["summary"]["selected_epoch"] for result in results})
        accuracies, shirts = (
            [test["accuracy"] for test in tests],
            [test["per_class"][SHIRT]["accuracy"] for test in tests],
        )
        row = (
            name,
            f"{epochs[0]}–{epochs[-1]}" if len(epochs) > 1 else str(epochs[0]),
            str(len(results)),
            f"{format_mean_std(accuracies, 100, 2)}%",
            format_mean_std([test["loss"] for test in tests]),
            format_mean_std([test["ece"] for test in tests]),
            f"{format_mean_std(shirts, 100, 1)}%",
        )
        rows.append(row)
    return rows


COMPARED: dict[str, tuple[Callable[[Result], float], int, str]] = {
    "test accuracy": (lambda result: 100 * float(result["test"]["accuracy"]), 2, "%"),
    "test loss": (lambda result: float(result["test"]["loss"]), 4, ""),
    "train loss": (lambda result: float(result["summary"]["final_train_loss"]), 4, ""),
}
"""Figures of `print_comparison`: how to compute each, its decimals and its unit."""


def print_comparison(before: str, after: str) -> None:
    """Print the differences of two folders of results, paired by seed (Student's t test)."""
    groups = [{r["seed"]: r for r in read_seeds(RESULTS / name)} for name in (before, after)]
    seeds = sorted(groups[0].keys() & groups[1].keys())
    if len(seeds) < 2:
        raise SystemExit(f"{before} and {after}: a paired comparison needs at least two seeds")
    print(f"{after} minus {before}, seeds {', '.join(map(str, seeds))}\n")
    rows = []
    for title, (figure, digits, unit) in COMPARED.items():
        first, second = ([figure(group[seed]) for seed in seeds] for group in groups)
        difference = paired_mean_difference(first, second)
        means = [f"{format_mean_std(values, 1, digits)}{unit}" for values in (first, second)]
        rows.append((title, *means, format_difference(difference, digits), f"{difference.p:.2f}"))
    print(markdown_table(("figure", before, after, "difference, 95% interval", "p"), rows))


def _prepare(
    recipe: str, seed: int, assignments: list[str], threads: int
) -> tuple[Settings, Dataset]:
    flags = {"seed": seed, "threads": threads}
    return prepare_training(recipe, flags=flags, assignments=assignments)


def main() -> None:
    """Train the seeds that are not recorded, or print tables."""
    parser = make_parser(__doc__)
    parser.add_argument("recipe", nargs="?", help="a bundled recipe, or a .toml file")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", help="folder of the results; default: name of the recipe")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="settings"
    )
    parser.add_argument("--no-test", action="store_true", help="never read the test split")
    parser.add_argument("--compare", nargs=2, metavar="NAME", help="two folders of results")
    parser.add_argument("--table", action="store_true", help="print the tables, train nothing")
    options = parser.parse_args()
    if options.compare:
        print_comparison(*options.compare)
        return
    if options.table or not options.recipe:
        print_tables()
        return
    use_shared_data()
    folder = RESULTS / (options.name or Path(options.recipe).stem)
    for seed in options.seeds:
        arguments = options.recipe, seed, options.set, options.threads
        run_seed(folder / f"seed{seed}.json", *arguments, test=not options.no_test)


if __name__ == "__main__":
    main()
