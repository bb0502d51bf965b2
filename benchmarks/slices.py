"""Recipes that want a GPU, on a slice of the data: that they run and learn, not how far they get.

    python benchmarks/slices.py                      medium and record, and accurate beside them
    python benchmarks/slices.py --table              the table of docs/RESULTS.md, runs nothing

Learns from 10,000 training images, a sixth of each class, for few epochs, everything else as the
recipe has it, and is judged on 2,000 others; the test part is never read. The whole of it is
``fashioncnn train medium`` on a machine with a GPU. What is finished, ``<recipe>.json`` under
``benchmarks/results/slices``, is not run again, and refused where it is of another slice or length.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from results import machine_of
from seeds import RESULTS, provenance, use_shared_data

FOLDER = RESULTS / "slices"
RECIPES = ("accurate", "medium", "record")


def run(recipe: str, options: argparse.Namespace) -> Path:
    """Train a recipe on the slice and write what validation says, unless that is there."""
    from fashioncnn.config import resolve
    from fashioncnn.data.load import load_dataset
    from fashioncnn.data.splits import stratified_split_indices
    from fashioncnn.files import write_json
    from fashioncnn.training.prepare import prepare_settings
    from fashioncnn.training.run import train_model

    result = FOLDER / f"{recipe}.json"
    if result.exists():
        refuse_others(result, options)
        return result
    flags = {"epochs": options.epochs, "seed": 0, "threads": options.threads}
    settings = resolve(recipe, flags=flags, assignments=[f"data.validation={options.validation}"])
    dataset = load_dataset(settings.data.source)
    _, some = stratified_split_indices(dataset.train.labels, options.images + options.validation)
    dataset = replace(dataset, train=dataset.train.subset(some), test=None)
    settings = prepare_settings(settings, dataset)
    training_result = train_model(settings, dataset)
    content = {
        "recipe": recipe,
        "images": options.images,
        **provenance(settings, dataset),
        "parameters": training_result.model.parameters,
        "multiply_adds": training_result.model.multiply_adds,
        "validation": training_result.metrics["validation"],
        "history": training_result.history,
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_json(result, content)
    return result


def refuse_others(result: Path, options: argparse.Namespace) -> None:
    """Stop where a result is of another slice or length than was asked for."""
    found = read(result)
    settings = found["settings"]
    made = found["images"], settings["data"]["validation"], settings["training"]["epochs"]
    if made != (options.images, options.validation, options.epochs):
        raise SystemExit(
            f"{result}: of {made[0]:,} images, {made[1]:,} held out, {made[2]} epochs; move it "
            "away first"
        )


def print_table() -> None:
    """Print what is there."""
    print("| recipe | parameters | multiply-adds | images | epochs | seconds an epoch | of "
          "| training loss, first and last | validation accuracy |")  # fmt: skip
    print("| --- |" + " ---: |" * 8)
    for result in map(read, sorted(FOLDER.glob("*.json"))):
        history = result["history"]
        first, last = (history[at]["train_loss"] for at in (0, -1))
        seconds = statistics.median(epoch["seconds"] for epoch in history)
        cells = (
            f"`{result['recipe']}`",
            f"{result['parameters'] / 1e6:.2f} M",
            f"{result['multiply_adds'] / 1e6:,.0f} M",
            f"{result['pictures']:,}",
            str(len(history)),
            f"{seconds:,.0f}",
            machine_of([result]),
            f"{first:.3f}, {last:.3f}",
            f"{100 * result['validation']['accuracy']:.2f}%",
        )
        print("| " + " | ".join(cells) + " |")


def read(path: Path) -> dict[str, Any]:
    """Return one result."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--images", type=int, default=10_000, help="to learn from")
    parser.add_argument("--validation", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    options = parser.parse_args()
    use_shared_data()
    for recipe in [] if options.table else options.recipes:
        print(run(recipe, options), flush=True)
    print_table()


if __name__ == "__main__":
    main()
