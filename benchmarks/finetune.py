"""Fine-tune on photographs and measure accuracy on others, by images per class.

    python benchmarks/finetune.py clothing-dataset-small/train --from photo-zero-shot --images 20
    python benchmarks/finetune.py clothing-dataset-small/train --from photo-zero-shot --report
    python benchmarks/finetune.py --table

The photographs are the train split of https://github.com/alexeygrigorev/clothing-dataset-small
(CC0). Those whose file name has a SHA-256 divisible by 5 are the report set. Settings are selected
on the others: without ``--report``, one of five stratified folds of them is evaluated and the rest
is trained on. With it, the others are trained on and the report set is evaluated, once per final
setting. A draw is a random subset of the training images with the same number of each class.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from common import (
    RESULTS,
    Result,
    make_parser,
    measurement_context,
    provenance,
    read_result,
    write_result,
)
from tables import format_mean_std, markdown_table

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset, Split
    from fashioncnn.images.views import ViewMode
    from fashioncnn.models.trained_model import TrainedModel
    from fashioncnn.settings import Settings

FOLDER = RESULTS / "finetune"
SHARED_CLASSES = {
    "dress": "Dress",
    "longsleeve": "Pullover",
    "outwear": "Coat",
    "pants": "Trouser",
    "shirt": "Shirt",
    "shoes": "shoes",
    "t-shirt": "T-shirt/top",
}
"""Folders whose garments Fashion-MNIST has, with its names; ``shoes`` are three of its classes."""
FOLDS = 5
SCRATCH = "scratch"


@dataclass(frozen=True)
class Photographs:
    """All photographs of a folder.

    Attributes:
        names: file names.
        labels: (n,) uint8.
        class_names: by label.
        views: of each photograph, (views, size, size[, 3]) uint8.
    """

    names: list[str]
    labels: NDArray[np.uint8]
    class_names: tuple[str, ...]
    views: list[NDArray[np.uint8]]

    def subset(self, positions: NDArray[np.int64]) -> Split:
        """Return some photographs as a split."""
        from fashioncnn.data.image_files import split_of_views

        return split_of_views([self.views[i] for i in positions], self.labels[positions])


def is_reported(name: str) -> bool:
    """Return whether a file belongs to the report set."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 5 == 0


def read_photographs(
    folder: Path, mode: Any, size: int, channels: int, cache: Path | None
) -> Photographs:
    """Return all photographs of a folder of class folders as ``train`` and ``predict`` see them.

    Args:
        folder: of class folders.
        mode: see `fashioncnn.images.views.ViewMode`.
        size: side of the views, in pixels.
        channels: of the views.
        cache: folder for a file with the views, which take minutes to compute; None for none.
    """
    from fashioncnn.data.image_files import read_images
    from fashioncnn.data.labels import natural_key
    from fashioncnn.data.options import LoadOptions
    from fashioncnn.images.files import walk_images

    class_names = tuple(sorted((p.name for p in folder.iterdir() if p.is_dir()), key=natural_key))
    paths = [
        (path, label) for label, c in enumerate(class_names) for path in walk_images(folder / c)
    ]
    labels = np.array([label for _, label in paths], np.uint8)
    stored = None if cache is None else cache / f"{mode}-{size}-{channels}.npz"
    if stored is not None and stored.exists():
        values = np.load(stored)
        if [path.name for path, _ in paths] != values["names"].tolist():
            raise SystemExit(f"{stored}: of other photographs; remove it")
        views = np.split(values["views"], np.cumsum(values["counts"])[:-1])
    else:
        options = LoadOptions(size, views=mode, channels=channels)
        views, _ = read_images([path for path, _ in paths], options)
        if stored is not None:
            stored.parent.mkdir(parents=True, exist_ok=True)
            counts = [len(of_image) for of_image in views]
            names = [path.name for path, _ in paths]
            np.savez(stored, names=names, counts=counts, views=np.concatenate(views))
    return Photographs([path.name for path, _ in paths], labels, class_names, views)


def with_shared_classes(photographs: Photographs) -> Photographs:
    """Return the photographs of the classes that Fashion-MNIST has, with its names."""
    names = photographs.class_names
    kept = [i for i, label in enumerate(photographs.labels) if names[label] in SHARED_CLASSES]
    class_names = tuple(SHARED_CLASSES[name] for name in names if name in SHARED_CLASSES)
    labels = [class_names.index(SHARED_CLASSES[names[photographs.labels[i]]]) for i in kept]
    return Photographs(
        [photographs.names[i] for i in kept],
        np.array(labels, np.uint8),
        class_names,
        [photographs.views[i] for i in kept],
    )


def partition(
    photographs: Photographs, *, report: bool, fold: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions to train on and to evaluate."""
    from fashioncnn.data.splits import fold_indices

    reported = np.array([is_reported(name) for name in photographs.names])
    if report:
        return np.flatnonzero(~reported), np.flatnonzero(reported)
    others = np.flatnonzero(~reported)
    train, held_out = fold_indices(photographs.labels[others], FOLDS, fold)
    return others[train], others[held_out]


def draw(
    positions: NDArray[np.int64], labels: NDArray[np.uint8], images: int | None, number: int
) -> NDArray[np.int64]:
    """Return the positions of a random subset with `images` of each class; None is all."""
    if images is None:
        return positions
    generator = np.random.default_rng([number, images])
    by_class = [positions[labels[positions] == label] for label in np.unique(labels)]
    chosen = [generator.permutation(of_class)[:images] for of_class in by_class]
    return np.sort(np.concatenate(chosen))


def train_once(
    options: argparse.Namespace, dataset: Dataset, initial: TrainedModel | None, seed: int
) -> tuple[Result, Settings]:
    """Return the metrics of one training on the test split of `dataset`, and its settings."""
    from fashioncnn.config import resolve
    from fashioncnn.devices import configure_process
    from fashioncnn.training.prepare import prepare_settings, settings_of_weights
    from fashioncnn.training.run import train_model

    # Calibration does not change the accuracy, and here nothing else than it is measured.
    fixed = ["data.validation=0", "training.calibration_folds=0", "training.abstain_below=0.0"]
    flags = {"seed": seed, "epochs": options.epochs, "threads": options.threads}
    settings = resolve(options.recipe, flags=flags, assignments=[*fixed, *options.set])
    settings = settings_of_weights(settings, initial)
    configure_process(settings.runtime.threads)
    settings = prepare_settings(settings, dataset, initial)
    started = time.perf_counter()
    result = train_model(settings, replace(dataset, test=None), initial=initial)
    return {"seconds": time.perf_counter() - started, **evaluate(result.model, dataset)}, settings


def evaluate(model: TrainedModel, dataset: Dataset) -> Result:
    """Return accuracy, Wilson interval and accuracy by class on the test split."""
    from fashioncnn.evaluation.metrics import wilson_interval
    from fashioncnn.models.backend import torch_predictor

    split = dataset.require_test()
    predicted = torch_predictor(model).predict_views(split.all_views).probabilities.argmax(1)
    correct = predicted == split.labels
    low, high = wilson_interval(int(correct.sum()), len(correct))
    return {
        "accuracy": float(correct.mean()),
        "accuracy_ci95": [low, high],
        "by_class": {
            name: float(correct[split.labels == label].mean())
            for label, name in enumerate(dataset.class_names)
        },
    }


def measure(options: argparse.Namespace) -> Result:
    """Return the results of all draws of one group."""
    from fashioncnn.data.dataset import Dataset
    from fashioncnn.models.trained_model import load_model

    initial = None if options.source == SCRATCH else load_model(Path(options.source))
    mode, size, channels = "plain", options.image_size, options.channels
    if initial is not None:
        preprocessing = initial.spec.preprocessing
        mode, channels = preprocessing.views, preprocessing.channels
        size = size or preprocessing.image_size
    photographs = read_photographs(options.photos, mode, size or 28, channels, options.cache)
    if options.classes == "shared":
        photographs = with_shared_classes(photographs)
    train, held_out = partition(photographs, report=options.report, fold=options.fold)
    draws: list[Result] = []
    for number in range(1, options.draws + 1):
        chosen = draw(train, photographs.labels, options.images, number)
        dataset = Dataset(
            "clothing-dataset-small",
            photographs.class_names,
            photographs.subset(chosen),
            photographs.subset(held_out),
            cast("ViewMode", mode),
            str(options.photos),
        )
        values, settings = train_once(options, dataset, initial, seed=number - 1)
        draws.append({"n": len(chosen), **values})
        print(f"draw {number}: {len(chosen):,} images, {100 * values['accuracy']:.1f}%")
    return {
        "from": options.source,
        "classes": options.classes,
        "images_per_class": options.images,
        "image_size": size or 28,
        "evaluated": "report set" if options.report else f"fold {options.fold} of {FOLDS}",
        "evaluated_images": len(held_out),
        "draws": draws,
        **measurement_context(),
        **provenance(settings, dataset),
    }


def result_path(result: Result) -> Path:
    """Return the file of a group of draws."""
    images = result["images_per_class"] or "all"
    place = "report" if result["evaluated"] == "report set" else "fold"
    source = Path(result["from"]).name
    return FOLDER / f"{source}-{result['classes']}-{images}-{place}.json"


def table() -> str:
    """Return the recorded results as a Markdown table."""
    rows = []
    for path in sorted(FOLDER.glob("*.json")):
        result = read_result(path)
        draws = result["draws"]
        rows.append(
            (
                _source(result),
                str(result["classes"]),
                str(result["images_per_class"] or "all"),
                str(len(draws)),
                f"{result['evaluated']} ({result['evaluated_images']})",
                f"{format_mean_std([d['accuracy'] for d in draws], 100, 1)}%",
                f"{format_mean_std([min(d['by_class'].values()) for d in draws], 100, 0)}%",
            )
        )
    columns = ("from", "classes", "per class", "draws", "evaluated", "accuracy", "worst class")
    return markdown_table(columns, rows, left=(0, 1))


def _source(result: Result) -> str:
    """Return what was started from; from scratch, also the recipe and the images."""
    if result["from"] != SCRATCH:
        return str(result["from"])
    color = ", color" * (result["settings"]["data"]["channels"] == 3)
    return f"scratch, {result['settings']['recipe']}, {result['image_size']} px{color}"


def main() -> None:
    """Measure one group and record it, or print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("photos", type=Path, nargs="?", help="folder of class folders")
    parser.add_argument("--from", dest="source", default="photo", help=f"a model, or {SCRATCH}")
    parser.add_argument("--classes", choices=("own", "shared"), default="own")
    parser.add_argument("--images", type=int, help="of each class; default: all")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--report", action="store_true", help="evaluate on the report set")
    parser.add_argument("--fold", type=int, default=1, choices=range(1, FOLDS + 1))
    parser.add_argument("--recipe", default="finetune")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--channels", type=int, choices=(1, 3), default=1)
    parser.add_argument("--set", nargs="*", default=[], help="settings, as train takes them")
    parser.add_argument("--cache", type=Path, help="folder to store views in")
    parser.add_argument("--table", action="store_true", help="print the recorded results")
    options = parser.parse_args()
    if options.table:
        print(table())
        return
    if options.photos is None:
        parser.error("name the folder of photographs, or --table")
    result = measure(options)
    write_result(result_path(result), result)
    print(f"→ {result_path(result)}")


if __name__ == "__main__":
    main()
