"""Train a recipe with several seeds, a thread each, and tabulate what is there.

    python benchmarks/seeds.py honest --seeds 0 1 2 3 4
    python benchmarks/seeds.py baseline --name baseline-native --set runtime.kernels=native
    python benchmarks/seeds.py --table
    python benchmarks/seeds.py --compare baseline baseline-native

Seeds are fastest side by side, one process a core: run it twice with different ``--seeds``.
Each trains in its run folder, ``runs/seeds/<recipe>/seed<n>``, and stopped at any moment goes on
from there. When finished it leaves ``benchmarks/results/<recipe>/seed<n>.json`` (settings,
environment, history, judgements) and is not run again. The test part is read once, after training,
unless the recipe draws its curve.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from fashioncnn.data.dataset import Dataset
    from fashioncnn.settings import Settings
    from fashioncnn.training.run import TrainingResult

RESULTS = Path(__file__).parent / "results"
RUNS = Path("runs") / "seeds"
SHARED_DATA = Path(__file__).parents[2] / "shared" / "fashion-mnist"
PUBLISHED = {
    "final_test_accuracy": 0.9269,
    "best_test_accuracy": 0.9304,
    "lowest_test_loss": 0.2126,
    "final_test_loss": 0.2549,
    "final_train_loss": 0.0952,
}
"""What the description of FashionCNN reports, from one run."""


def train_seed(
    path: Path, recipe: str, seed: int, assignments: list[str], threads: int
) -> tuple[TrainingResult, Dataset]:
    """Train one seed in its run folder, from where it was; return what came out, and the data."""
    from fashioncnn.runs import RunFolder, create_run
    from fashioncnn.training.run import train_model

    settings, dataset = prepared(recipe, seed, assignments, threads)
    run = RunFolder(path) if (path / "config.toml").exists() else create_run(path, settings)
    with run.lock():
        return train_model(settings, dataset, run=run), dataset


def prepared(
    recipe: str, seed: int, assignments: list[str], threads: int
) -> tuple[Settings, Dataset]:
    """Return the settings that a seed runs with, and its data."""
    from fashioncnn.config import resolve
    from fashioncnn.data.load import load_dataset
    from fashioncnn.training.prepare import prepare_settings

    settings = resolve(recipe, flags={"seed": seed, "threads": threads}, assignments=assignments)
    dataset = load_dataset(settings.data.source)
    return prepare_settings(settings, dataset), dataset


def refuse_others(result: Path, settings: Settings) -> None:
    """Stop where a result was made with other settings than it would be made with now."""
    from fashioncnn.config import validate

    # Of the official files these decide nothing, and older results have them otherwise.
    told = {"source", "images", "image_size"}
    not_learnt: Any = {"description": True, "recipe": True, "runtime": True, "data": told}
    stored = validate(json.loads(result.read_text())["settings"])
    now = validate({**_portable(settings), "data": settings.data.model_dump()})
    if stored.model_dump(exclude=not_learnt) != now.model_dump(exclude=not_learnt):
        raise SystemExit(
            f"{result}: made with other settings than the recipe has now; move it away, or give "
            "the new results a --name"
        )


def run_seed(
    result: Path,
    recipe: str,
    seed: int,
    assignments: list[str],
    threads: int,
    *,
    test: bool,
    flip: bool = True,
) -> None:
    """Train one seed and write its result, unless it is there; read the test part if `test`.

    What the run judged itself, validation and a test part whose curve it drew, stands as it is, in
    the precision that it was trained in; the rest, and with `flip` mirror images as well, is judged
    in float32, as ``predict`` does it.
    """
    from fashioncnn.evaluation.evaluate import evaluate_model, evaluation_splits
    from fashioncnn.files import write_json
    from fashioncnn.runs import RunFolder

    if result.exists():
        refuse_others(result, prepared(recipe, seed, assignments, threads)[0])
        return
    path = RUNS / result.parent.name / result.stem
    training_result, dataset = train_seed(path, recipe, seed, assignments, threads)
    run = RunFolder(path)
    settings = run.settings()
    parts = evaluation_splits(dataset, settings)
    judged: dict[str, Any] = dict.fromkeys(("validation", "test"))
    for split in [name for name in judged if name in parts and (test or name != "test")]:
        given = training_result.model, dataset, parts[split], split
        judged[split] = training_result.metrics[split] or evaluate_model(*given, run=run)
        if flip:
            judged[f"{split}_flip"] = evaluate_model(*given, tta="flip")
    taught_by = run.read_environment().get("taught_by")
    content = {
        "name": result.parent.name,
        "seed": seed,
        **provenance(settings, dataset),
        **({"taught_by": _from_here(taught_by)} if taught_by else {}),
        "parameters": training_result.model.parameters,
        "summary": training_result.metrics["summary"],
        **judged,
        "history": training_result.history,
    }
    result.parent.mkdir(parents=True, exist_ok=True)
    write_json(result, content)
    shown = judged["test"] or judged["validation"]
    print(f"{result}: {shown['split']} accuracy {shown['accuracy']:.4f}", flush=True)


def provenance(settings: Settings, dataset: Dataset) -> dict[str, Any]:
    """Return what a result tells of how it was made: settings, environment, hashes of the data."""
    from fashioncnn.runtime import describe_environment

    values = _portable(settings)
    data = {"name": dataset.name, "sha256": dataset.hashes}
    return {"settings": values, "environment": describe_environment(settings.runtime, data)}


def _portable(settings: Settings) -> dict[str, Any]:
    """Return settings without the paths of this machine."""
    values = settings.model_dump(mode="json", exclude_none=True)
    del values["data"]["source"]
    taught_by = dict.fromkeys(values["training"]["taught_by"], "")
    values["training"]["taught_by"] = list(_from_here(taught_by))
    return values


def _from_here(models: dict[str, str]) -> dict[str, str]:
    """Return what is told of models by name; paths in the current folder begin there."""
    return {name.removeprefix(f"{Path.cwd()}/"): told for name, told in models.items()}


def use_shared_data() -> None:
    """Take the official files that lie beside the checkout, where no others are named."""
    if SHARED_DATA.is_dir():
        os.environ.setdefault("FASHIONCNN_DATA", str(SHARED_DATA))


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return the results of a recipe, by seed."""
    return [json.loads(p.read_text()) for p in sorted(folder.glob("seed*.json"))]


def published_figures(summary: dict[str, Any]) -> dict[str, float]:
    """Return the five published figures as a run with a test curve has them."""
    values = {key: summary[key] for key in PUBLISHED}
    return {k: float(v["value"] if isinstance(v, dict) else v) for k, v in values.items()}


def mean_sd(values: list[float], scale: float = 1.0, digits: int = 4) -> str:
    """Return ``mean ± sd``; of one value, which has no spread, the value."""
    mean = f"{scale * statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {scale * statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def print_tables() -> None:
    """Print the tables of docs/RESULTS.md that stand on training runs."""
    baseline = read_results(RESULTS / "baseline")
    if len(baseline) < 2:
        raise SystemExit(f"{RESULTS / 'baseline'}: the tables need at least two seeds of baseline")
    rows = [published_figures(r["summary"]) for r in baseline]
    print(f"baseline, seeds {', '.join(str(r['seed']) for r in baseline)}\n")
    print("| figure | published (1 run) | ours, mean ± sd | lowest – highest | z |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for key, value in PUBLISHED.items():
        values = [row[key] for row in rows]
        scale, digits, unit = (100, 2, "%") if "accuracy" in key else (1, 4, "")
        z = (value - statistics.fmean(values)) / statistics.stdev(values)
        print(
            f"| {key.replace('_', ' ')} | {scale * value:.{digits}f}{unit} "
            f"| {mean_sd(values, scale, digits)}{unit} "
            f"| {scale * min(values):.{digits}f} – {scale * max(values):.{digits}f}{unit} "
            f"| {z:+.1f} |"
        )
    gain = [row["best_test_accuracy"] - row["final_test_accuracy"] for row in rows]
    print(f"\nPicking the epoch on the test set is worth {mean_sd(gain, 100, 2)} points.\n")
    print("| recipe | weights kept | n | test accuracy | test loss | ECE | Shirt |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for recipe in sorted(p.name for p in RESULTS.iterdir() if (p / "seed0.json").exists()):
        results = read_results(RESULTS / recipe)
        tests = [r["test"] for r in results if r["test"]]
        if not tests:  # chosen on validation alone
            continue
        epochs = [r["summary"]["selected_epoch"] for r in results]
        kept = f"epoch {min(epochs)}" + (f"–{max(epochs)}" if len(set(epochs)) > 1 else "")
        shirt = [t["per_class"][6]["accuracy"] for t in tests]
        print(
            f"| {recipe} | {kept} | {len(results)} "
            f"| {mean_sd([t['accuracy'] for t in tests], 100, 2)}% "
            f"| {mean_sd([t['loss'] for t in tests])} | {mean_sd([t['ece'] for t in tests])} "
            f"| {mean_sd(shirt, 100, 1)}% |"
        )


def print_comparison(before: str, after: str) -> None:
    """Print the differences between two groups, paired by seed, with their t intervals.

    The interval is that of the mean difference, from Student's t with n - 1 degrees of freedom;
    p is that of the two-sided paired t test.
    """
    from scipy import stats

    groups = [{r["seed"]: r for r in read_results(RESULTS / name)} for name in (before, after)]
    seeds = sorted(groups[0].keys() & groups[1].keys())
    if len(seeds) < 2:
        raise SystemExit(f"{before} and {after}: a paired comparison needs two seeds or more")
    print(f"{after} less {before}, seeds {', '.join(map(str, seeds))}\n")
    print(f"| figure | {before} | {after} | difference, 95% interval | p |")
    print("| --- | ---: | ---: | ---: | ---: |")
    figures: dict[str, tuple[Callable[[Any], float], int, str]] = {
        "test accuracy": (lambda r: 100 * r["test"]["accuracy"], 2, "%"),
        "test loss": (lambda r: r["test"]["loss"], 4, ""),
        "train loss": (lambda r: r["summary"]["final_train_loss"], 4, ""),
    }
    for title, (figure, digits, unit) in figures.items():
        first, second = ([figure(group[seed]) for seed in seeds] for group in groups)
        result = stats.ttest_rel(second, first)
        low, high = result.confidence_interval(0.95)
        middle = statistics.fmean(second) - statistics.fmean(first)
        print(
            f"| {title} | {mean_sd(first, 1, digits)}{unit} | {mean_sd(second, 1, digits)}{unit} "
            f"| {middle:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}] "
            f"| {result.pvalue:.2f} |"
        )


def main() -> None:
    """Run what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", nargs="?")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", help="of the folder of results; default: the recipe's")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="settings"
    )
    parser.add_argument("--no-test", action="store_true", help="never read the test part")
    parser.add_argument("--compare", nargs=2, metavar="GROUP", help="two folders of results")
    parser.add_argument("--table", action="store_true", help="print the tables and run nothing")
    options = parser.parse_args()
    if options.compare:
        print_comparison(*options.compare)
    elif options.recipe and not options.table:
        use_shared_data()
        for seed in options.seeds:
            result = RESULTS / (options.name or options.recipe) / f"seed{seed}.json"
            run_seed(
                result,
                options.recipe,
                seed,
                options.set,
                options.threads,
                test=not options.no_test,
            )
    else:
        print_tables()


if __name__ == "__main__":
    main()
