"""Create the weights that are bundled with the package: train, evaluate, write the model folder.

    python benchmarks/bundle_weights.py photo-zero-shot
    python benchmarks/bundle_weights.py photo-zero-shot --card    rewrite the model card only
    python benchmarks/bundle_weights.py photo --onnx              write the ONNX file only
    python benchmarks/bundle_weights.py medium --gpu medium-distilled-seed1 --models DIR/models

Trains seed 0 of the recipe as ``benchmarks/seeds.py`` does (or uses its finished run), writes
``src/fashioncnn/weights/<recipe>`` in fp16, reads it back, and records in the model card the test
metrics of exactly these weights. Then it writes their ONNX file, whose logits it compares with
PyTorch's on all images of the test split. The seed is fixed in advance: it is not selected by its
metrics. ``--onnx`` needs no run, only the bundled weights.
``--card`` needs no run, only the bundled weights and ``benchmarks/results/<recipe>/seed0.json``.
``--gpu`` bundles a model that ``benchmarks/gpu.py`` has trained, named as in
``benchmarks/results/gpu``, from its folder of models.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from common import (
    RESULTS,
    ROOT,
    RUNS,
    Result,
    make_parser,
    read_result,
    teacher_hashes,
    use_shared_data,
)
from seeds import train_seed

if TYPE_CHECKING:
    from fashioncnn.settings import Settings

SEED = 0
GPU_RESULTS = RESULTS / "gpu"
NO_SOURCE = {"source": None}
WEIGHTS = ROOT / "src" / "fashioncnn" / "weights"
NOTES = {
    "photo-zero-shot": (
        "- **Accuracy on photographs**: 66.3% [64.5 – 68.1] of 2,631 phone photographs that "
        "influenced no choice (benchmarks/photos.py); shoes count as correct as any kind",
        "- **Sources**: images of Fashion-MNIST (MIT License) alone",
    )
}
"""Further lines of a recipe's model card, measured by other commands."""


def bundle(recipe: str, threads: int) -> Path:
    """Train if necessary, write the model folder and return it."""
    from fashioncnn.models.trained_model import load_model, save_model
    from fashioncnn.runs import RunFolder

    run = RunFolder(RUNS / recipe / f"seed{SEED}")
    if not run.trained:
        train_seed(run.path, recipe, SEED, [], threads)
    folder = WEIGHTS / recipe
    save_model(load_model(run.path), folder, "", half=True)
    card = create_card(recipe, folder, run.settings(), run.read_environment())
    save_model(load_model(run.path), folder, card, half=True)
    return folder


def rewrite_card(recipe: str) -> Path:
    """Rewrite the model card of bundled weights and return their folder."""
    from fashioncnn.config import validate
    from fashioncnn.files import write_atomic

    result = read_result(RESULTS / recipe / f"seed{SEED}.json")
    environment: Result = {**result["environment"], "teachers": result.get("teachers")}
    folder = WEIGHTS / recipe
    card = create_card(recipe, folder, validate(result["settings"]), environment)
    write_atomic(folder / "README.md", card.encode())
    return folder


def bundle_from_gpu(name: str, trained: str, models: Path) -> Path:
    """Bundle a model that ``gpu.py`` has trained, and return its folder."""
    from fashioncnn.config import validate
    from fashioncnn.models.trained_model import load_model, save_model

    sessions = [read_result(path) for path in sorted(GPU_RESULTS.glob("*.json"))]
    session, entry = next(
        (session, entry)
        for session in sessions
        for entry in session["trainings"]
        if entry["name"] == trained
    )
    settings = validate(entry["settings"])
    model, folder = load_model(models / trained), WEIGHTS / name
    save_model(model, folder, "", half=True)
    teachers = {t: load_model(models / t).sha256 for t in settings.distillation.teachers}
    created = (
        f"- **Created** by `make gpu` (entry `{trained}` of benchmarks/recipes/gpu.toml), with "
        f"torch {session['torch']} on one {session['gpu']}, {settings.runtime.precision}, in "
        f"{entry['seconds']:.0f} s"
    )
    settings = settings.model_copy(update={"data": settings.data.model_copy(update=NO_SOURCE)})
    card = create_card(name, folder, settings, {"teachers": teachers}, created)
    save_model(model, folder, card, half=True)
    return folder


def write_onnx(name: str) -> Path:
    """Write the ONNX file of bundled weights, verified on the test split; return their folder."""
    from fashioncnn.artifacts.model_folder import ONNX, read_description
    from fashioncnn.config import source_from_environment
    from fashioncnn.data.load import load_dataset
    from fashioncnn.files import write_atomic
    from fashioncnn.models.export import export_model
    from fashioncnn.models.trained_model import load_model

    folder = WEIGHTS / name
    model = load_model(folder)
    dataset = load_dataset(source_from_environment())
    images, name_of_images = dataset.require_test().images, f"{dataset.name}, test split"
    exported = export_model(model, read_description(folder), images, name_of_images)
    write_atomic(folder / ONNX, exported.content)
    print(exported.record.verification.model_dump_json())
    return folder


def create_card(
    recipe: str, folder: Path, settings: Settings, environment: Result, created: str | None = None
) -> str:
    """Return the model card of bundled weights, with their test metrics.

    Args:
        recipe: its name.
        folder: of the bundled weights.
        settings: they were trained with.
        environment: content of the run's environment.json.
        created: the line about their creation; by default from the environment of a run.
    """
    from fashioncnn.artifacts.model_card import model_card
    from fashioncnn.artifacts.model_folder import read_description
    from fashioncnn.config import source_from_environment
    from fashioncnn.data.load import load_dataset
    from fashioncnn.inference.evaluate import evaluate_split
    from fashioncnn.models.backend import torch_predictor
    from fashioncnn.models.trained_model import load_model

    dataset = load_dataset(settings.data.source or source_from_environment())
    predictor, description = torch_predictor(load_model(folder)), read_description(folder)
    test = evaluate_split(predictor, description, dataset, dataset.require_test(), "test")
    runtime = settings.runtime
    notes = [
        "- **Weights**: fp16; the metrics below are those of the bundled weights",
        created
        or f"- **Created** by `python benchmarks/bundle_weights.py {recipe}`, with torch "
        f"{environment['packages']['torch']} on {environment['cpu']}, threads: {runtime.threads}, "
        f"{runtime.precision}, {runtime.kernels} kernels",
        *NOTES.get(recipe, ()),
        "- **Selection, and metrics of other seeds**: docs/LOG.md and docs/RESULTS.md",
    ]
    teachers = teacher_hashes(environment)
    return model_card(description, settings, dataset.hashes, {"test": test}, notes, teachers)


def main() -> None:
    """Create the bundled weights of one recipe."""
    parser = make_parser(__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--threads", type=int, default=1, help="as in seeds.py")
    parser.add_argument("--card", action="store_true", help="rewrite the model card only")
    parser.add_argument("--onnx", action="store_true", help="write the ONNX file only")
    parser.add_argument("--gpu", metavar="NAME", help="bundle a model that gpu.py has trained")
    parser.add_argument("--models", type=Path, help="folder of the models of gpu.py")
    options = parser.parse_args()
    use_shared_data()
    if options.gpu:
        folder = bundle_from_gpu(options.recipe, options.gpu, options.models)
    elif options.card:
        folder = rewrite_card(options.recipe)
    elif not options.onnx:
        folder = bundle(options.recipe, options.threads)
    if not options.card:
        folder = write_onnx(options.recipe)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
