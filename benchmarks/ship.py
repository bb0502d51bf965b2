"""Make the weights that come with the package, from the data: train, judge, put them in place.

    python benchmarks/ship.py accurate

Trains seed 0 of the recipe as ``benchmarks/seeds.py`` does (or takes its run, where that is
finished), writes ``src/fashioncnn/weights/<recipe>`` in fp16, reads it back, and tells in its model
card what these very weights reach on the test part. The seed is fixed beforehand: no seed is chosen
by its figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from seeds import RUNS, train_seed, use_shared_data

SEED = 0
NOTES = {
    "photo": (
        "- **On photographs**: 71.0% [65.6 – 76.0] of 290 phone photographs, by which its steps "
        "were chosen (benchmarks/photos.py)",
    )
}
"""What a card tells besides of a recipe, measured by other commands."""
WEIGHTS = Path(__file__).parents[1] / "src" / "fashioncnn" / "weights"


def ship(recipe: str, threads: int) -> Path:
    """Train where it is needed, write the model folder and return it."""
    from fashioncnn.data.load import load_dataset
    from fashioncnn.evaluation.evaluate import evaluate_model
    from fashioncnn.models.trained_model import load_model, save_model
    from fashioncnn.runs import RunFolder, read_json
    from fashioncnn.training.model_card import model_card

    run = RunFolder(RUNS / recipe / f"seed{SEED}")
    if not run.finished:
        train_seed(run.path, recipe, SEED, [], threads)
    settings, environment = run.settings(), read_json(run.environment)
    dataset = load_dataset(settings.data.source)
    folder = WEIGHTS / recipe
    save_model(load_model(run.path), folder, "", half=True)
    shipped = load_model(folder)
    test = evaluate_model(shipped, dataset, dataset.require_test(), "test")
    notes = [
        "- **Weights**: fp16; the figures below are of these weights, as they are shipped",
        f"- **Made** by `python benchmarks/ship.py {recipe}`, with torch "
        f"{environment['packages']['torch']} on {environment['cpu']}, "
        f"threads: {settings.runtime.threads}, {settings.runtime.precision}, "
        f"{settings.runtime.kernels} kernels",
        *NOTES.get(recipe, ()),
        "- **How it was chosen, and figures of other seeds where there are any**: docs/LOG.md and "
        "docs/RESULTS.md of the project",
    ]
    taught_by = environment.get("taught_by")
    card = model_card(shipped, settings, dataset.hashes, {"test": test}, notes, taught_by)
    save_model(load_model(run.path), folder, card, half=True)
    return folder


def main() -> None:
    """Make the weights of one recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--threads", type=int, default=1, help="as seeds.py has them")
    options = parser.parse_args()
    use_shared_data()
    folder = ship(options.recipe, options.threads)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
