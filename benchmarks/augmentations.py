"""What each augmentation gives FashionCNN: equal budgets, several seeds, judged on validation.

    python benchmarks/augmentations.py
    python benchmarks/augmentations.py --only flip erasing --seeds 0 1 2 --jobs 2
    python benchmarks/augmentations.py --epochs 20 --table
    python benchmarks/augmentations.py --picture docs/img/augmentations.png

Every variant trains on 50,000 pictures for the same epochs, with the same seeds: the same initial
weights and order of pictures. Differences to no augmentation are paired by seed. The test part is
never read. A finished run leaves ``<variant>-seed<n>.json`` in a folder of its epochs under
``benchmarks/results/augmentations``, and is not run again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from seeds import mean_sd, use_shared_data

RESULTS = Path(__file__).parent / "results" / "augmentations"
NONE = "none"
VARIANTS: dict[str, dict[str, float]] = {
    NONE: {},
    "flip": {"flip": 0.5},
    "shift": {"shift": 2},
    "crop": {"crop": 0.2},
    "rotation": {"rotation": 10.0},
    "scale": {"scale": 0.1},
    "shear": {"shear": 10.0},
    "brightness": {"brightness": 0.3},
    "contrast": {"contrast": 0.3},
    "blur": {"blur": 0.7},
    "noise": {"noise": 0.05},
    "erasing": {"erasing": 0.5},
    "cutout": {"cutout": 0.3},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
}
"""Settings under ``augmentation``, of the strength that is usual for 28×28 pictures."""
TRAINING = ["schedule.name=linear", "training.select=last"]
SHIRT, EXAMPLES = 6, 8


def run(variant: str, seed: int, epochs: int, threads: int) -> Path:
    """Train one variant with one seed and write what validation says of it."""
    from fashioncnn.config import resolve
    from fashioncnn.data.sources import load_dataset
    from fashioncnn.runs import write_json
    from fashioncnn.runtime import describe_environment
    from fashioncnn.training.prepare import prepare_settings
    from fashioncnn.training.run import train_model

    changes = [f"augmentation.{key}={value}" for key, value in VARIANTS[variant].items()]
    flags = {"seed": seed, "threads": threads, "epochs": epochs}
    settings = resolve("honest", flags=flags, assignments=TRAINING + changes)
    dataset = load_dataset(settings.data.source)
    settings = prepare_settings(settings, dataset)
    outcome = train_model(settings, dataset)
    values = settings.model_dump(mode="json", exclude_none=True)
    del values["data"]["source"]  # a path of this machine
    data = {"name": dataset.name, "sha256": dataset.hashes}
    result = path_of(variant, seed, epochs)
    result.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "name": variant,
        "seed": seed,
        "settings": values,
        "environment": describe_environment(settings.runtime, data),
        "validation": outcome.metrics["validation"],
        "history": outcome.history,
    }
    write_json(result, content)
    return result


def path_of(variant: str, seed: int, epochs: int) -> Path:
    """Return where a run's result is kept."""
    return RESULTS / str(epochs) / f"{variant}-seed{seed}.json"


def run_missing(variants: list[str], options: argparse.Namespace) -> None:
    """Run what has no result yet, several at once."""
    pairs = [(v, s) for s in options.seeds for v in variants]
    wanted = [(v, s) for v, s in pairs if not path_of(v, s, options.epochs).exists()]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        runs = [pool.submit(run, v, s, options.epochs, options.threads) for v, s in wanted]
        for done, future in enumerate(as_completed(runs), 1):
            print(f"{done} of {len(runs)}: {future.result()}", flush=True)


def print_tables(variants: list[str], epochs: int) -> None:
    """Print the paired differences to no augmentation, all together and by class."""
    results = {v: {r["seed"]: r for r in read(v, epochs)} for v in variants}
    plain = results[NONE]
    if len(plain) < 2:
        raise SystemExit(f"{RESULTS}: the tables need two seeds of '{NONE}' or more")
    print("| augmentation | n | validation loss | difference | accuracy | difference | Shirt |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for variant in variants:
        runs = results[variant]
        seeds = sorted(runs.keys() & plain.keys())
        if len(seeds) < 2:
            continue
        loss, accuracy, shirt = (
            ([figure(plain[s]) for s in seeds], [figure(runs[s]) for s in seeds])
            for figure in (loss_of, accuracy_of, lambda r: class_accuracy(r, SHIRT))
        )
        told = [paired(*loss, 4), paired(*accuracy, 2), paired(*shirt, 1)]
        if variant == NONE:
            told = ["", "", f"{statistics.fmean(shirt[0]):.1f}%"]
        print(
            f"| {describe(variant)} | {len(seeds)} | {mean_sd(loss[1])} | {told[0]} "
            f"| {mean_sd(accuracy[1], 1, 2)}% | {told[1]} | {told[2]} |"
        )
    names = [c["name"] for c in next(iter(plain.values()))["validation"]["per_class"]]
    print("\n| augmentation | " + " | ".join(names) + " |")
    print("| --- |" + " ---: |" * len(names))
    for variant in variants:
        runs = results[variant]
        seeds = sorted(runs.keys() & plain.keys())
        if len(seeds) < 2:
            continue
        cells = []
        for code in range(len(names)):
            mean = statistics.fmean(class_accuracy(runs[s], code) for s in seeds)
            base = statistics.fmean(class_accuracy(plain[s], code) for s in seeds)
            cells.append(f"{mean:.1f}" if variant == NONE else f"{mean - base:+.1f}")
        print(f"| {variant} | " + " | ".join(cells) + " |")


def read(variant: str, epochs: int) -> list[dict[str, Any]]:
    """Return a variant's results, by seed."""
    paths = sorted((RESULTS / str(epochs)).glob(f"{variant}-seed*.json"))
    return [json.loads(path.read_text()) for path in paths]


def describe(variant: str) -> str:
    """Return a variant with its strength."""
    return " ".join([variant, *(f"{value:g}" for value in VARIANTS[variant].values())])


def loss_of(result: dict[str, Any]) -> float:
    """Return the validation loss, in nats."""
    return float(result["validation"]["loss"])


def accuracy_of(result: dict[str, Any]) -> float:
    """Return the validation accuracy, in percent."""
    return 100 * float(result["validation"]["accuracy"])


def class_accuracy(result: dict[str, Any], code: int) -> float:
    """Return the validation accuracy of one class, in percent."""
    return 100 * float(result["validation"]["per_class"][code]["accuracy"])


def paired(before: list[float], after: list[float], digits: int) -> str:
    """Return the mean difference with its 95% interval by the paired t test."""
    from scipy import stats

    low, high = stats.ttest_rel(after, before).confidence_interval(0.95)
    middle = statistics.fmean(after) - statistics.fmean(before)
    return f"{middle:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def draw(path: Path) -> None:
    """Draw a sheet: a row for each augmentation, of the same pictures."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import torch

    from fashioncnn.config import source_from_environment
    from fashioncnn.data.augment import Augmentation
    from fashioncnn.data.sources import load_dataset
    from fashioncnn.settings import AugmentationConfig

    part = load_dataset(source_from_environment()).train
    firsts = [int((part.labels == code).argmax()) for code in (6, 0, 3, 1, 9, 7, 5, 8)]
    indices = torch.tensor(firsts[:EXAMPLES])
    pictures = torch.from_numpy(part.images[indices.numpy()]).unsqueeze(1)
    figure, axes = plt.subplots(
        len(VARIANTS), EXAMPLES, figsize=(EXAMPLES * 0.8 + 1.2, len(VARIANTS) * 0.8)
    )
    for row, (variant, settings) in zip(axes, VARIANTS.items(), strict=True):
        given = Augmentation(AugmentationConfig.model_validate(settings), 0, len(part))
        drawn = given(pictures, indices, 0)
        if given.mixes:
            drawn, _ = given.mix(drawn, indices, 0)
        for axis, picture in zip(row, drawn, strict=True):
            axis.imshow(picture[0], cmap="gray", vmin=0, vmax=255)
            axis.set_axis_off()
        row[0].text(
            -0.25, 0.5, describe(variant), transform=row[0].transAxes, ha="right", va="center"
        )
    figure.subplots_adjust(left=0.2, right=0.99, top=0.99, bottom=0.01, hspace=0.06, wspace=0.06)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    print(path)


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[v for v in VARIANTS if v != NONE])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--table", action="store_true", help="print the tables and run nothing")
    parser.add_argument("--picture", type=Path, help="draw what they do, and run nothing")
    options = parser.parse_args()
    use_shared_data()
    if options.picture:
        draw(options.picture)
        return
    variants = [NONE, *options.only] if options.only else list(VARIANTS)
    if not options.table:
        run_missing(variants, options)
    print_tables(variants, options.epochs)


if __name__ == "__main__":
    main()
