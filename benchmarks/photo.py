"""Train the bundled model ``photo`` from ``photo-zero-shot`` and measure it on other photographs.

    python benchmarks/photo.py clothing-dataset-small/train --seeds 0 1 2 --models DIR
    python benchmarks/photo.py clothing-dataset-small/train --leave-out hat
    python benchmarks/photo.py clothing-dataset-small/train --fold 1 --set training.epochs=30
    python benchmarks/photo.py --bundle DIR
    python benchmarks/photo.py clothing-dataset-small/train --evaluate photo-zero-shot
    python benchmarks/photo.py --table

The photographs are the train split of https://github.com/alexeygrigorev/clothing-dataset-small
(CC0). Those whose file name has a SHA-256 divisible by 5 are the report set: with ``--seeds`` the
others are trained on, and it is evaluated once per final model. Settings are selected by folds of
the others (``--fold``). ``--leave-out`` trains without a folder and measures whether its images are
recognized as outside of the classes. ``--bundle`` writes seed 0 to
``src/fashioncnn/weights/photo``: its accuracy on the report set is that of the weights that are
shipped. To train on all photographs, use ``fashioncnn train photo --from photo-zero-shot --data
clothing-dataset-small/train``.

``--save-views FILE.npz`` stores the views of all photographs and of images without clothing, which
take minutes to compute; FILE.npz can then be given in place of the folder.

``make photo DATA=clothing-dataset-small/train`` does everything. With ``--models``, the same
command after an interruption continues: a seed is not trained again if its model in DIR is that of
its result, with the same photographs, settings and version of the package.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common import (
    RESULTS,
    ROOT,
    Parser,
    Result,
    make_parser,
    measurement_context,
    portable_settings,
    provenance,
    read_result,
    use_shared_data,
    write_result,
)
from fashioncnn.errors import DataError, FashionCNNError, UsageError
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.state import Record, TrainState
from finetune import FOLDS, Photographs, is_reported, read_photographs
from ood_images import KINDS
from tables import format_mean_std, markdown_table

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset
    from fashioncnn.inference.predictor import Predictor
    from fashioncnn.models.trained_model import TrainedModel
    from fashioncnn.settings import Settings

FOLDER = RESULTS / "photo"
WEIGHTS = ROOT / "src" / "fashioncnn" / "weights" / "photo"
NAME = "clothing-dataset-small"
EACH = 40
"""Images without clothing of each kind, those that `ood_images` draws."""
VALIDATION = 10_000
"""Training images of Fashion-MNIST that are evaluated with a fold, those that `photo-zero-shot`
held out, too."""
SEED = re.compile(r"-seed\d+$")
"""End of the names of results of a training; those of ``--evaluate`` have none."""
EFFECTIVE = {
    "table": set[str](),
    "bundle": set[str](),
    "save_views": {"photos"},
    "evaluate": {"photos", "fold"},
}
"""Options with an effect beside each of those that replace a training."""
Views = list[NDArray[np.uint8]]


@dataclass(frozen=True)
class Sources:
    """All images of a measurement.

    Attributes:
        photographs: all of them, with the names of their folders as classes.
        no_clothing: views of each image without clothing.
    """

    photographs: Photographs
    no_clothing: Views


def check_sources(path: Path, leave_out: str | None = None) -> None:
    """Reject photographs that cannot be read, before minutes are spent on them.

    Args:
        path: see `read_sources`.
        leave_out: folder that has to exist.

    Raises:
        UsageError: there is no such folder or file, or it has other class folders.
    """
    from fashioncnn.config import resolve
    from fashioncnn.data.split_folders import subfolders

    if path.suffix == ".npz" and path.is_file():
        return
    if not path.is_dir():
        raise UsageError(f"{path}: no folder, and no .npz file of --save-views")
    known = resolve("photo").data.map or {}
    names = [folder.name for folder in subfolders(path)]
    others = [name for name in names if name not in known]
    if not names or others:
        found = others[0] if others else "no folders"
        raise UsageError(f"{path}: has {found}; should have the folders {', '.join(known)}")
    if leave_out is not None and leave_out not in names:
        raise UsageError(f"--leave-out {leave_out}: {path} has no such folder")
    if missing := [name for name in known if name not in names]:
        raise UsageError(f"{path}: lacks the folders {', '.join(missing)}; give the whole split")


def read_sources(path: Path) -> Sources:
    """Return the images of a folder of class folders, or of a file of `save_sources`.

    Raises:
        DataError: images or the file cannot be read.
    """
    from fashioncnn.config import resolve

    if path.suffix != ".npz":
        return Sources(read_photographs(path, "photo", 28, 1, None), draw_no_clothing())
    try:
        with path.open("rb") as file, np.load(file) as values:
            views = np.split(values["views"], np.cumsum(values["counts"])[:-1])
            names, class_names = values["names"].tolist(), tuple(values["class_names"].tolist())
            if set(class_names) != set(resolve("photo").data.map or {}):
                raise ValueError(f"of the folders {', '.join(map(str, class_names))}")
            photographs = Photographs(names, values["labels"], class_names, views)
            return Sources(photographs, list(values["no_clothing"]))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a file of --save-views ({error}); write it again") from None


def save_sources(sources: Sources, path: Path) -> None:
    """Write the views of all images, atomically."""
    from fashioncnn.files import write_atomic

    photographs = sources.photographs
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        names=photographs.names,
        labels=photographs.labels,
        class_names=photographs.class_names,
        counts=[len(views) for views in photographs.views],
        views=np.concatenate(photographs.views),
        no_clothing=np.stack(sources.no_clothing),
    )
    write_atomic(path, buffer.getvalue())


def draw_no_clothing() -> Views:
    """Return the views of images without clothing."""
    from fashioncnn.environment import available_cores
    from fashioncnn.images.views import photo_views

    images = [
        draw(np.random.default_rng((number, index)))
        for number, draw in enumerate(KINDS.values())
        for index in range(EACH)
    ]
    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(partial(photo_views, size=28), images))


def select(
    photographs: Photographs, fold: int | None, leave_out: str | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions to train on and those to evaluate.

    Args:
        photographs: all of them.
        fold: to evaluate instead of the report set, from 1.
        leave_out: folder that is evaluated only.
    """
    from fashioncnn.data.splits import fold_indices

    is_report = np.array([is_reported(name) for name in photographs.names])
    train, held_out = np.flatnonzero(~is_report), np.flatnonzero(is_report)
    if not len(train) or not len(held_out):
        raise DataError(
            f"{len(train):,} photographs to train on and {len(held_out):,} of the report set; "
            "give the train split of clothing-dataset-small with its file names"
        )
    if fold is not None:
        others, in_fold = fold_indices(photographs.labels[train], FOLDS, fold)
        train, held_out = train[others], train[in_fold]
    if leave_out is not None:
        code = photographs.class_names.index(leave_out)
        train = train[photographs.labels[train] != code]
    return train, held_out


def make_dataset(
    photographs: Photographs, positions: NDArray[np.int64], settings: Settings
) -> Dataset:
    """Return the dataset of some photographs, with the classes of the settings."""
    from fashioncnn.data.dataset import Dataset
    from fashioncnn.data.load import with_class_map
    from fashioncnn.data.options import class_map_of, ignore

    split = photographs.subset(positions)
    dataset = Dataset(NAME, photographs.class_names, split, None, "photo", NAME)
    return with_class_map(dataset, class_map_of(settings.data), offline=True, notify=ignore)


class ReportEpochs(Callback):
    """Prints a line for each epoch."""

    def on_epoch(self, state: TrainState, record: Record) -> None:  # noqa: ARG002
        """Print losses, accuracies and time."""
        shown = {k: round(v, 4) for k, v in record.items() if v is not None}
        print(shown, flush=True)


def given_settings(options: argparse.Namespace, seed: int) -> Settings:
    """Return the settings of the recipe and the options, before they are resolved.

    Raises:
        ConfigError: a setting of ``--set`` is unknown or invalid.
    """
    from fashioncnn.config import resolve, source_from_environment

    source = source_from_environment()
    fixed = [] if source is None else [f"data.rehearsal_source={source}"]
    flags = {"seed": seed, "threads": options.threads, "device": options.device, "data": NAME}
    return resolve("photo", flags=flags, assignments=[*fixed, *options.set])


def prepare(
    options: argparse.Namespace, photographs: Photographs, positions: NDArray[np.int64], seed: int
) -> tuple[TrainedModel, Settings, Dataset]:
    """Return the model to start from, the resolved settings and the dataset of a training."""
    from fashioncnn.data.splits import split_validation
    from fashioncnn.devices import configure_process
    from fashioncnn.models.trained_model import load_model
    from fashioncnn.training.prepare import prepare_settings, settings_of_weights

    initial = load_model(Path("photo-zero-shot"))
    settings = settings_of_weights(given_settings(options, seed), initial)
    configure_process(settings.runtime.threads)
    dataset = make_dataset(photographs, positions, settings)
    if options.fold is not None:
        others = split_validation(dataset.rehearsal or dataset.train, VALIDATION)[0]
        dataset = replace(dataset, rehearsal=others)
    return initial, prepare_settings(settings, dataset, initial), dataset


def is_finished(result: Path, model: Path, settings: Settings, dataset: Dataset) -> bool:
    """Return whether an earlier call wrote this model and its result.

    Args:
        result: file of the result.
        model: folder of the model.
        settings: resolved, of the training.
        dataset: of the training.
    """
    from fashioncnn import __version__
    from fashioncnn.models.trained_model import load_model

    if not result.exists() or not model.exists():
        return False
    recorded = read_result(result)
    environment = recorded["environment"]
    return bool(
        recorded["settings"] == portable_settings(settings)
        and environment["data"]["sha256"] == dataset.hashes
        and environment["packages"]["fashioncnn"] == __version__
        and recorded["model_sha256"] == load_model(model).sha256
    )


def evaluate(
    predictor: Predictor,
    sources: Sources,
    positions: NDArray[np.int64],
    settings: Settings,
    fold: int | None,
) -> Result:
    """Return the metrics of a model on some photographs and on Fashion-MNIST.

    Args:
        predictor: of the model.
        sources: all images.
        positions: of the photographs to evaluate.
        settings: whose class map applies.
        fold: for a selection, Fashion-MNIST's validation split is evaluated, else the test split.
    """
    from fashioncnn.config import source_from_environment
    from fashioncnn.data.load import load_dataset
    from fashioncnn.data.splits import split_validation
    from fashioncnn.evaluation.metrics import expected_calibration_error, wilson_interval
    from fashioncnn.evaluation.selective import auroc
    from fashioncnn.inference.evaluate import confidence_metrics

    without = settings.model_copy(
        update={"data": settings.data.model_copy(update={"rehearsal": None})}
    )
    split = make_dataset(sources.photographs, positions, without).train
    predictions = predictor.predict_views(split.all_views)
    inside = split.in_classes
    labels = split.correct_labels(predictions.probabilities)
    correct = (predictions.probabilities.argmax(1) == labels)[inside]
    folders = np.array(sources.photographs.class_names)[sources.photographs.labels[positions]]
    confidences = predictions.confidences
    logits = predictor.to_logits(predictions.probabilities)[inside]
    scaled = logits / np.float32(predictor.spec.temperature)
    low, high = wilson_interval(int(correct.sum()), len(correct))
    by_folder = {
        str(name): float(correct[folders[inside] == name].mean())
        for name in np.unique(folders[inside])
    }
    no_clothing = predictor.predict_views(sources.no_clothing).confidences
    official = load_dataset(source_from_environment(), offline=True)
    name, fashion = "test", official.require_test()
    if fold is not None:
        name, fashion = "validation", split_validation(official.train, VALIDATION)[1] or fashion
    on_fashion = predictor.predict_images(fashion.images).probabilities.argmax(1) == fashion.labels
    return {
        "n": len(correct),
        "accuracy": float(correct.mean()),
        "accuracy_ci95": [low, high],
        "by_folder": by_folder,
        "ece": expected_calibration_error(scaled, labels[inside]),
        **confidence_metrics(predictions, split, predictor.spec.abstain_below),
        "auroc_by_folder": {
            str(name): auroc(confidences[inside], confidences[folders == name])
            for name in np.unique(folders[~inside])
        },
        "auroc_no_clothing": auroc(confidences[inside], no_clothing),
        f"fashion_mnist_{name}": float(on_fashion.mean()),
    }


def files_sha256(photographs: Photographs, positions: NDArray[np.int64]) -> str:
    """Return the SHA-256 of the sorted list of files, ``folder/name``, one per line."""
    names = [
        f"{photographs.class_names[photographs.labels[i]]}/{photographs.names[i]}\n"
        for i in positions
    ]
    return hashlib.sha256("".join(sorted(names)).encode()).hexdigest()


def measure(options: argparse.Namespace, sources: Sources, seed: int) -> Result | None:
    """Train with one seed and return the metrics on the photographs held out.

    Returns:
        None if an earlier call did so; see `is_finished`.
    """
    from fashioncnn.artifacts.model_card import minimal_card
    from fashioncnn.models.backend import torch_predictor
    from fashioncnn.models.trained_model import save_model
    from fashioncnn.training.run import train_model

    train, held_out = select(sources.photographs, options.fold, options.leave_out)
    initial, settings, dataset = prepare(options, sources.photographs, train, seed)
    path = result_path(options, seed)
    folder = None if options.models is None else options.models / path.stem
    if folder is not None and is_finished(path, folder, settings, dataset):
        print(f"{folder}: finished by an earlier call; remove it to train again", flush=True)
        return None
    started = time.perf_counter()
    model = train_model(settings, dataset, initial=initial, callbacks=[ReportEpochs()]).model
    seconds = time.perf_counter() - started
    if folder is not None:
        save_model(model, folder, minimal_card(model.describe()))
    metrics = evaluate(torch_predictor(model), sources, held_out, settings, options.fold)
    return {
        "seed": seed,
        "evaluated": "report set" if options.fold is None else f"fold {options.fold} of {FOLDS}",
        "left_out": options.leave_out,
        "photographs": len(train),
        "files_sha256": files_sha256(sources.photographs, train),
        **metrics,
        "temperature": model.spec.temperature,
        "model_sha256": model.sha256,
        "seconds": seconds,
        **measurement_context(),
        **provenance(settings, dataset),
    }


def measure_model(options: argparse.Namespace, sources: Sources) -> Result:
    """Return the metrics of a model that was not trained on photographs, on the report set."""
    from fashioncnn.config import resolve
    from fashioncnn.data.dataset import FASHION_MNIST_CLASSES
    from fashioncnn.models.backend import torch_predictor
    from fashioncnn.models.trained_model import load_model

    _, held_out = select(sources.photographs, options.fold, None)
    classes = {"classes": FASHION_MNIST_CLASSES}
    settings = resolve("photo")
    settings = settings.model_copy(update={"data": settings.data.model_copy(update=classes)})
    predictor = torch_predictor(load_model(Path(options.evaluate)))
    place = "report set" if options.fold is None else f"fold {options.fold} of {FOLDS}"
    return {
        "model": options.evaluate,
        "evaluated": place,
        **evaluate(predictor, sources, held_out, settings, options.fold),
        **measurement_context(),
    }


def bundle(models: Path) -> Path:
    """Write the bundled model, seed 0 on the report set, and return its folder.

    Weights, model card and ONNX file are written once all of them are complete.

    Args:
        models: folder that ``--models`` was, with the model; its result is recorded, too.

    Raises:
        UsageError: there is no such model, or no result of it.
    """
    from fashioncnn.artifacts.model_folder import write_model_folder
    from fashioncnn.config import source_from_environment
    from fashioncnn.data.load import load_dataset
    from fashioncnn.models.export import export_model
    from fashioncnn.models.trained_model import load_model, save_model

    name = "report-seed0"
    recorded = FOLDER / f"{name}.json"
    model = load_model(models / name)
    if not recorded.exists() or model.sha256 != read_result(recorded)["model_sha256"]:
        raise UsageError(
            f"{models / name}: not the model of {recorded}; train it with --models {models}"
        )
    official = load_dataset(source_from_environment(), offline=True)
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder), "", half=True)
        bundled = load_model(Path(folder))
    card = create_card(bundled, read_result(recorded), official)
    weights = model.weights(half=True)
    description = model.describe(weights)
    images, shown = official.require_test().images, f"{official.name}, test split"
    exported = export_model(bundled, description, images, shown)
    write_model_folder(WEIGHTS, weights, description, card, exported.content)
    return WEIGHTS


def create_card(bundled: TrainedModel, result: Result, official: Dataset) -> str:
    """Return the model card.

    Args:
        bundled: the model as it is bundled, in fp16.
        result: of the model.
        official: Fashion-MNIST.
    """
    from fashioncnn.artifacts.model_card import model_card
    from fashioncnn.config import validate
    from fashioncnn.inference.evaluate import evaluate_split
    from fashioncnn.models.backend import torch_predictor

    predictor, description = torch_predictor(bundled), bundled.describe()
    test = evaluate_split(predictor, description, official, official.require_test(), "test")
    environment = result["environment"]
    torch, cpu = environment["packages"]["torch"], environment["cpu"]
    low, high = result["accuracy_ci95"]
    notes = [
        "- **Weights**: fp16; the metrics below are those of the bundled weights on Fashion-MNIST",
        f"- **Sources**: {result['photographs']:,} photographs of "
        "[clothing-dataset-small](https://github.com/alexeygrigorev/clothing-dataset-small), train "
        "split without the report set, CC0 1.0; SHA-256 of the list of files "
        f"`{result['files_sha256']}`. Images of Fashion-MNIST (MIT License) in each batch. Started "
        "from `photo-zero-shot`",
        "- **Created** by `python benchmarks/photo.py clothing-dataset-small/train --models DIR` "
        f"and `--bundle DIR`, with torch {torch} on {cpu}, in {result['seconds']:.0f} s",
        f"- **Accuracy on photographs**: {100 * result['accuracy']:.1f}% [{100 * low:.1f} – "
        f"{100 * high:.1f}] of {result['n']} photographs that influenced no choice; shoes count as "
        "correct as any kind",
        "- **Not measured on photographs**: bags, of which there are none, and which kind of shoes "
        "is named, since one folder has all of them. Both are known from Fashion-MNIST alone",
        "- **Selection, and metrics of other seeds**: docs/LOG.md and docs/RESULTS.md",
    ]
    hashes = {**environment["data"]["sha256"], "rehearsal": official.train.sha256}
    settings = validate(result["settings"])
    return model_card(description, settings, hashes, {"Fashion-MNIST test": test}, notes)


def result_path(options: argparse.Namespace, seed: int) -> Path:
    """Return the file of a result."""
    place = "report" if options.fold is None else f"fold{options.fold}"
    what = f"-without-{options.leave_out}" if options.leave_out else ""
    variant = f"-{options.name}" if options.name else ""
    return FOLDER / f"{place}{what}{variant}-seed{seed}.json"


def table() -> str:
    """Return the recorded results as a Markdown table, a row for each group of seeds."""
    groups: dict[str, list[Result]] = {}
    for path in sorted(FOLDER.glob("*.json")):
        groups.setdefault(SEED.sub("", path.stem), []).append(read_result(path))
    rows = [(name, str(len(results)), *_cells(results)) for name, results in groups.items()]
    columns = (
        *("result", "seeds", "accuracy", "macro", "worst folder", "AUROC outside"),
        *("AUROC no clothing", "accuracy at 80%", "ECE", "Fashion-MNIST"),
    )
    return markdown_table(columns, rows)


def _cells(results: list[Result]) -> list[str]:
    def at_80(result: Result) -> float:
        return float(next(r["accuracy"] for r in result["coverage"] if r["coverage"] == 0.8))

    def fashion(result: Result) -> float:
        name = "test" if "fashion_mnist_test" in result else "validation"
        return float(result[f"fashion_mnist_{name}"])

    def cell(values: list[float], scale: float = 100, digits: int = 1) -> str:
        return format_mean_std(values, scale, digits)

    left_out = results[0].get("left_out")
    return [
        cell([r["accuracy"] for r in results]),
        cell([r["macro_accuracy"] for r in results]),
        cell([min(r["by_folder"].values()) for r in results], digits=0),
        cell(
            [
                r["auroc_by_folder"][left_out] if left_out else r["outside"]["auroc"]
                for r in results
            ],
            1,
            3,
        ),
        cell([r["auroc_no_clothing"] for r in results], 1, 3),
        cell([at_80(r) for r in results]),
        cell([r["ece"] for r in results], 1, 3),
        cell([fashion(r) for r in results], digits=2),
    ]


def main() -> None:
    """Train, measure or bundle, or print the table; errors are one line."""
    options = parse_arguments()
    if options.table:
        print(table())
        return
    use_shared_data()
    try:
        run(options)
    except FashionCNNError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("interrupted; with --models, the same command continues", file=sys.stderr)
        raise SystemExit(130) from None


def parse_arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "photos", type=Path, nargs="?", help="train split of the photographs, or FILE.npz"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="of the trainings, one after the other"
    )
    parser.add_argument(
        "--fold",
        type=int,
        choices=range(1, FOLDS + 1),
        help="evaluate a fold of the photographs without the report set, to select settings",
    )
    parser.add_argument(
        "--leave-out",
        choices=("hat", "shorts", "skirt"),
        help="train without this folder, and measure whether its images are recognized as outside",
    )
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="save the models there, and continue there"
    )
    parser.add_argument(
        "--bundle", type=Path, metavar="DIR", help="write the weights of seed 0 into the package"
    )
    parser.add_argument(
        "--evaluate", metavar="MODEL", help="evaluate on the report set without training"
    )
    parser.add_argument(
        "--save-views", type=Path, metavar="FILE.npz", help="store the views of all images"
    )
    parser.add_argument("--name", help="of a variant, in the names of its results")
    parser.add_argument("--set", nargs="*", default=[], help="settings, as train takes them")
    parser.add_argument("--threads", type=int, help="of PyTorch; default: that of train")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--table", action="store_true", help="print the recorded results")
    options = parser.parse_args()
    _reject_without_effect(parser, options)
    needs_photos = not (options.table or options.bundle)
    if needs_photos and (options.photos is None or options.photos == Path()):
        parser.error("name the folder of photographs, --bundle or --table")
    if options.save_views and options.save_views.suffix != ".npz":
        parser.error(f"--save-views {options.save_views}: should end in .npz")
    return options


def _reject_without_effect(parser: Parser, options: argparse.Namespace) -> None:
    """Exit with a message if an option would be ignored."""
    for mode, effective in EFFECTIVE.items():
        if not getattr(options, mode):
            continue
        for action in parser._actions:
            is_given = getattr(options, action.dest, action.default) != action.default
            if is_given and action.dest not in {mode, *effective}:
                name = action.option_strings[0] if action.option_strings else action.dest
                parser.error(f"{name}: has no effect with --{mode.replace('_', '-')}; remove it")


def run(options: argparse.Namespace) -> None:
    """Do what the options say, after they have been checked as far as possible.

    Raises:
        FashionCNNError: an option, the photographs or a model cannot be used.
    """
    from fashioncnn.artifacts.model_folder import find_model

    if options.bundle:
        print(f"→ {bundle(options.bundle)}")
        return
    check_sources(options.photos, options.leave_out)
    for seed in options.seeds:
        given_settings(options, seed)
    if options.evaluate:
        find_model(Path(options.evaluate))
    sources = read_sources(options.photos)
    if options.save_views:
        save_sources(sources, options.save_views)
    elif options.evaluate:
        place = "report" if options.fold is None else f"fold{options.fold}"
        path = FOLDER / f"{Path(options.evaluate).name}-{place}.json"
        _record(path, measure_model(options, sources))
    else:
        for seed in options.seeds:
            if (result := measure(options, sources, seed)) is not None:
                _record(result_path(options, seed), result)


def _record(path: Path, result: Result) -> None:
    write_result(path, result)
    shown: dict[str, Any] = {k: v for k, v in result.items() if isinstance(v, float | int | str)}
    print(f"→ {path}\n{shown}", flush=True)


if __name__ == "__main__":
    main()
