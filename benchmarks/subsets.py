"""Train the untested GPU recipes on a subset: a check that they run and that the loss falls.

    python benchmarks/subsets.py                      medium and record, and accurate to compare
    python benchmarks/subsets.py --table              print the table, train nothing

Trains on 10,000 images, stratified by class, for a few epochs, and evaluates on 2,000 others, with
all other settings of the recipe; the test split is never read. The accuracy of a full training,
``fashioncnn train benchmarks/recipes/medium.toml`` on a machine with a GPU, cannot be concluded
from it. A finished recipe leaves ``benchmarks/results/subsets/<recipe>.json`` and is not trained
again.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

from common import (
    RECIPES,
    RESULTS,
    Result,
    describe_hardware,
    make_parser,
    provenance,
    read_result,
    use_shared_data,
    write_result,
)
from tables import markdown_table

FOLDER = RESULTS / "subsets"
DEFAULT = ("accurate", str(RECIPES / "medium.toml"), str(RECIPES / "record.toml"))
COLUMNS = (
    "recipe",
    "parameters",
    "multiply-adds",
    "images",
    "epochs",
    "s per epoch",
    "hardware",
    "training loss, first and last epoch",
    "validation accuracy",
)


def train_on_subset(recipe: str, options: argparse.Namespace) -> Path:
    """Train a recipe on the subset and record its result, unless it is recorded already."""
    from fashioncnn.config import resolve
    from fashioncnn.data.load import load_dataset
    from fashioncnn.data.splits import stratified_split_indices
    from fashioncnn.devices import configure_process
    from fashioncnn.training.prepare import prepare_settings
    from fashioncnn.training.run import train_model

    path = FOLDER / f"{Path(recipe).stem}.json"
    if path.exists():
        check_same_subset(path, options)
        return path
    flags = {"epochs": options.epochs, "seed": 0, "threads": options.threads}
    settings = resolve(recipe, flags=flags, assignments=[f"data.validation={options.validation}"])
    dataset = load_dataset(settings.data.source)
    size = options.images + options.validation
    _, subset = stratified_split_indices(dataset.train.labels, size)
    dataset = replace(dataset, train=dataset.train.subset(subset), test=None)
    configure_process(options.threads)
    settings = prepare_settings(settings, dataset)
    trained = train_model(settings, dataset)
    content = {
        "recipe": Path(recipe).stem,
        "images": options.images,
        **provenance(settings, dataset),
        "parameters": trained.model.parameters,
        "multiply_adds": trained.model.multiply_adds,
        "validation": trained.metrics["validation"],
        "history": trained.history,
    }
    write_result(path, content)
    return path


def check_same_subset(path: Path, options: argparse.Namespace) -> None:
    """Exit with a message if a recorded result is of another subset or number of epochs."""
    recorded = read_result(path)
    settings = recorded["settings"]
    images, epochs = recorded["images"], settings["training"]["epochs"]
    validation = settings["data"]["validation"]
    if (images, validation, epochs) != (options.images, options.validation, options.epochs):
        raise SystemExit(
            f"{path}: recorded with {images:,} training images, {validation:,} validation images "
            f"and {epochs} epochs; move it away first"
        )


def result_row(result: Result) -> tuple[str, ...]:
    """Return the cells of one recipe."""
    history = result["history"]
    first, last = (history[at]["train_loss"] for at in (0, -1))
    seconds = statistics.median(epoch["seconds"] for epoch in history)
    return (
        f"`{result['recipe']}`",
        f"{result['parameters'] / 1e6:.2f} M",
        f"{result['multiply_adds'] / 1e6:,.0f} M",
        f"{result['images']:,}",
        str(len(history)),
        f"{seconds:,.0f}",
        describe_hardware(result["environment"]),
        f"{first:.3f}, {last:.3f}",
        f"{100 * result['validation']['accuracy']:.2f}%",
    )


def main() -> None:
    """Train recipes that are not recorded, then print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("recipes", nargs="*", default=DEFAULT, help="names or .toml files")
    parser.add_argument("--images", type=int, default=10_000, help="training images")
    parser.add_argument("--validation", type=int, default=2_000, help="validation images")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print the table, train nothing")
    options = parser.parse_args()
    use_shared_data()
    for recipe in [] if options.table else options.recipes:
        print(train_on_subset(recipe, options), flush=True)
    rows = [result_row(read_result(path)) for path in sorted(FOLDER.glob("*.json"))]
    print(markdown_table(COLUMNS, rows))


if __name__ == "__main__":
    main()
