"""What one change gives: equal budgets, several seeds, paired differences on validation.

    python benchmarks/studies.py augmentations --epochs 20 --jobs 2
    python benchmarks/studies.py augmentations --only flip erasing --seeds 0 1 2
    python benchmarks/studies.py networks --epochs 8 --table
    python benchmarks/studies.py accurate-study --epochs 12 --seeds 0 --only deeper
    python benchmarks/studies.py augmentations --image docs/img/augmentations.png

Every variant trains on 50,000 images for the same epochs, with the same seeds: the same order of
images, and where the network is the same, the same initial weights. Differences to the plain
variant are paired by seed. The test part is never read. A finished run leaves
``<variant>-seed<n>.json`` in a folder of its epochs under ``benchmarks/results/<study>``, and is
not run again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seeds import mean_sd, provenance, use_shared_data

RESULTS = Path(__file__).parent / "results"
PLAIN = "none"
"""The variant that the others are compared with."""
SHIRT, EXAMPLES = 6, 8
AUGMENTATIONS: dict[str, dict[str, float]] = {
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
"""Settings under ``augmentation``, of the strength that is usual for 28×28 images."""


@dataclass(frozen=True)
class Study:
    """Variants of a recipe.

    Attributes:
        recipe: what all have in common.
        settings: changed in all, as ``--set`` takes them.
        variants: the changes of each.
    """

    recipe: str
    settings: list[str]
    variants: dict[str, list[str]]


TRAINED_ALIKE = ["data.validation=auto", "schedule.name=linear", "training.select=last"]
AUGMENTED = {
    name: [f"augmentation.{key}={value:g}" for key, value in changes.items()]
    for name, changes in AUGMENTATIONS.items()
}
WIDE = ["model.channels=[32, 64, 96]", "model.blocks=[1, 2, 2]"]
STUDIES = {
    "augmentations": Study("baseline", [*TRAINED_ALIKE, "training.track_test=false"], AUGMENTED),
    "networks": Study(
        "baseline",
        [*TRAINED_ALIKE, "training.track_test=false", "runtime.precision=auto"],
        {
            "half the width": ["model.channels=[16, 32]"],
            "twice the width": ["model.channels=[64, 128]"],
            "one convolution": ["model.channels=[32]"],
            "three convolutions": ["model.channels=[32, 64, 128]"],
            "5×5 kernels": ["model.kernel_size=5", "model.padding=2"],
            "7×7 kernels": ["model.kernel_size=7", "model.padding=3"],
            "128 hidden units": ["model.hidden=128"],
            "512 hidden units": ["model.hidden=512"],
            "batch norm, no hidden layer": ["model.name=batchnorm_cnn", "model.channels=[32, 64]"],
            "batch norm, three convolutions": ["model.name=batchnorm_cnn"],
        },
    ),
    "residual": Study(
        "fast94",
        [
            "data.validation=auto",
            "training.temperature=auto",
            "augmentation.flip=0",
            "augmentation.shift=0",
        ],
        {name: AUGMENTED[name] for name in ("brightness", "contrast", "noise", "flip", "shift")},
    ),
    "fast94-study": Study(
        "fast94",
        ["data.validation=auto", "training.temperature=auto", "optimizer.weight_decay=0"],
        {
            "weight decay 0.005": ["optimizer.weight_decay=0.005"],
            "no shift": ["augmentation.shift=0"],
            "narrower": ["model.channels=[16, 48, 64]"],
        },
    ),
    "accurate-study": Study(
        "accurate",
        [
            "data.validation=auto",
            "runtime.precision=auto",
            "training.temperature=auto",
            "model.channels=[16, 64, 96]",
            "model.blocks=[0, 2, 2]",
            "optimizer.weight_decay=0",
        ],
        {
            "no shift": ["augmentation.shift=0"],
            "a block at 28×28": WIDE,
            "deeper": ["model.channels=[32, 64, 80]", "model.blocks=[1, 3, 2]"],
            "narrower at first": ["model.channels=[16, 64, 96]", "model.blocks=[2, 2, 2]"],
            "weight decay 0.005": [*WIDE, "optimizer.weight_decay=0.005"],
            "weight decay 0.02": [*WIDE, "optimizer.weight_decay=0.02"],
            "three blocks of 32, 48, 80": [
                "model.channels=[32, 48, 80]",
                "model.blocks=[3, 3, 3]",
                "optimizer.weight_decay=0.005",
            ],
            "two blocks of 48, 64, 80": [
                "model.channels=[48, 64, 80]",
                "model.blocks=[2, 2, 2]",
                "optimizer.weight_decay=0.005",
            ],
            "mixup": [*WIDE, "optimizer.weight_decay=0.005", "augmentation.mixup=0.2"],
            "cutmix": [*WIDE, "optimizer.weight_decay=0.005", "augmentation.cutmix=1"],
        },
    ),
}


def run(study: str, variant: str, seed: int, epochs: int, threads: int) -> Path:
    """Train one variant with one seed and write what validation says of it."""
    from fashioncnn.config import resolve
    from fashioncnn.data.load import load_dataset
    from fashioncnn.files import write_json
    from fashioncnn.training.prepare import prepare_settings
    from fashioncnn.training.run import train_model

    given = STUDIES[study]
    changes = [*given.settings, *given.variants.get(variant, [])]
    flags = {"seed": seed, "threads": threads, "epochs": epochs}
    settings = resolve(given.recipe, flags=flags, assignments=changes)
    dataset = load_dataset(settings.data.source)
    settings = prepare_settings(settings, dataset)
    training_result = train_model(settings, dataset)
    result = path_of(study, variant, seed, epochs)
    result.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "name": variant,
        "seed": seed,
        **provenance(settings, dataset),
        "validation": training_result.metrics["validation"],
        "history": training_result.history,
    }
    write_json(result, content)
    return result


def path_of(study: str, variant: str, seed: int, epochs: int) -> Path:
    """Return where a run's result is kept."""
    name = variant.replace(", ", "-").replace(" ", "-")
    return RESULTS / study / str(epochs) / f"{name}-seed{seed}.json"


def run_missing(variants: list[str], options: argparse.Namespace) -> None:
    """Run what has no result yet, several at once."""
    pairs = [(v, s) for s in options.seeds for v in variants]
    study, epochs = options.study, options.epochs
    wanted = [(v, s) for v, s in pairs if not path_of(study, v, s, epochs).exists()]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=spawn, max_tasks_per_child=1) as pool:
        runs = [pool.submit(run, study, v, s, epochs, options.threads) for v, s in wanted]
        for done, future in enumerate(as_completed(runs), 1):
            print(f"{done} of {len(runs)}: {future.result()}", flush=True)


def print_tables(study: str, variants: list[str], epochs: int) -> None:
    """Print the paired differences to the plain variant, all together and by class."""
    from fashioncnn.config import validate
    from fashioncnn.models import build_model, count_multiply_adds, count_parameters

    results = {v: {r["seed"]: r for r in read(study, v, epochs)} for v in variants}
    plain = results[PLAIN]
    if not plain:
        raise SystemExit(f"{RESULTS / study}: the tables need a seed of '{PLAIN}'")
    shared = {v: sorted(runs.keys() & plain.keys()) for v, runs in results.items()}
    variants = [v for v in variants if shared[v]]
    print(
        "| change | n | validation loss | difference | calibrated loss | accuracy | difference "
        "| Shirt | parameters | multiply-adds | seconds |"
    )
    print("| --- |" + " ---: |" * 10)
    for variant in variants:
        runs, seeds = results[variant], shared[variant]
        loss, accuracy, shirt = (
            ([figure(plain[s]) for s in seeds], [figure(runs[s]) for s in seeds])
            for figure in (loss_of, accuracy_of, lambda r: class_accuracy(r, SHIRT))
        )
        told = [paired(*loss, 4), paired(*accuracy, 2), paired(*shirt, 1)]
        if variant == PLAIN:
            told = ["", "", f"{statistics.fmean(shirt[0]):.1f}%"]
        network = validate(runs[seeds[0]]["settings"]).model
        seconds = [sum(epoch["seconds"] for epoch in runs[s]["history"]) for s in seeds]
        print(
            f"| {describe(variant)} | {len(seeds)} | {mean_sd(loss[1])} | {told[0]} "
            f"| {calibrated_loss([runs[s] for s in seeds])} "
            f"| {mean_sd(accuracy[1], 1, 2)}% | {told[1]} | {told[2]} "
            f"| {count_parameters(build_model(network, 28, 10)):,} "
            f"| {count_multiply_adds(network, 28, 10) / 1e6:.1f} M "
            f"| {statistics.median(seconds):,.0f} |"
        )
    names = [c["name"] for c in next(iter(plain.values()))["validation"]["per_class"]]
    print("\n| change | " + " | ".join(names) + " |")
    print("| --- |" + " ---: |" * len(names))
    for variant in variants:
        cells = []
        for code in range(len(names)):
            mean, base = (
                statistics.fmean(class_accuracy(runs[s], code) for s in shared[variant])
                for runs in (results[variant], plain)
            )
            cells.append(f"{mean:.1f}" if variant == PLAIN else f"{mean - base:+.1f}")
        print(f"| {variant} | " + " | ".join(cells) + " |")


def read(study: str, variant: str, epochs: int) -> list[dict[str, Any]]:
    """Return a variant's results, by seed."""
    pattern = path_of(study, variant, 0, epochs).name.replace("-seed0", "-seed*")
    paths = sorted((RESULTS / study / str(epochs)).glob(pattern))
    return [json.loads(path.read_text()) for path in paths]


def describe(variant: str) -> str:
    """Return a variant with its strength, where it is one number."""
    return f"{variant} {AUGMENTED[variant][0].split('=')[1]}" if variant in AUGMENTED else variant


def loss_of(result: dict[str, Any]) -> float:
    """Return the validation loss, in nats."""
    return float(result["validation"]["loss"])


def calibrated_loss(results: list[dict[str, Any]]) -> str:
    """Return the mean loss with the temperature that validation asks for, where it was fitted."""
    told = [result["validation"].get("calibrated", {}).get("loss") for result in results]
    return "–" if None in told else mean_sd(told)


def accuracy_of(result: dict[str, Any]) -> float:
    """Return the validation accuracy, in percent."""
    return 100 * float(result["validation"]["accuracy"])


def class_accuracy(result: dict[str, Any], code: int) -> float:
    """Return the validation accuracy of one class, in percent."""
    return 100 * float(result["validation"]["per_class"][code]["accuracy"])


def paired(before: list[float], after: list[float], digits: int) -> str:
    """Return the mean difference with its 95% interval by the paired t test, from two on."""
    from scipy import stats

    middle = statistics.fmean(after) - statistics.fmean(before)
    if len(before) < 2:
        return f"{middle:+.{digits}f}"
    low, high = stats.ttest_rel(after, before).confidence_interval(0.95)
    return f"{middle:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def draw(path: Path) -> None:
    """Draw a sheet: a row for each augmentation, of the same images."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import torch

    from fashioncnn.augmentation.pipeline import Augmentation
    from fashioncnn.config import source_from_environment
    from fashioncnn.data.load import load_dataset
    from fashioncnn.settings import AugmentationConfig

    part = load_dataset(source_from_environment()).train
    firsts = [int((part.labels == code).argmax()) for code in (6, 0, 3, 1, 9, 7, 5, 8)]
    indices = torch.tensor(firsts[:EXAMPLES])
    images = torch.from_numpy(part.images[indices.numpy()]).unsqueeze(1)
    rows: dict[str, dict[str, float]] = {PLAIN: {}, **AUGMENTATIONS}
    figure, axes = plt.subplots(
        len(rows), EXAMPLES, figsize=(EXAMPLES * 0.8 + 1.2, len(rows) * 0.8)
    )
    for row, (variant, settings) in zip(axes, rows.items(), strict=True):
        given = Augmentation(AugmentationConfig.model_validate(settings), 0, len(part))
        drawn = given(images, indices, 0)
        if given.mixes:
            drawn, _ = given.mix(drawn, indices, 0)
        for axis, image in zip(row, drawn, strict=True):
            axis.imshow(image[0], cmap="gray", vmin=0, vmax=255)
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
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--only", nargs="+", metavar="VARIANT")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--threads", type=int, default=1, help="of each run")
    parser.add_argument("--table", action="store_true", help="print the tables and run nothing")
    parser.add_argument("--image", type=Path, help="draw the augmentations, and run nothing")
    options = parser.parse_args()
    use_shared_data()
    if options.image:
        draw(options.image)
        return
    known = STUDIES[options.study].variants
    unknown = set(options.only or ()) - known.keys()
    if unknown:
        parser.error(f"--only {min(unknown)}: there are {', '.join(known)}")
    variants = [PLAIN, *(options.only or known)]
    if not options.table:
        run_missing(variants, options)
    print_tables(options.study, variants, options.epochs)


if __name__ == "__main__":
    main()
