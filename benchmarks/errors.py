"""Analyse the mistakes of a model on Fashion-MNIST: record, review without seeing the label, count.

    python benchmarks/errors.py record medium --split test
    python benchmarks/errors.py record runs/train-1 --split validation --name fast94-validation
    python benchmarks/errors.py sheets medium-test FOLDER       images to review, and an empty list
    python benchmarks/errors.py figure medium-test docs/img/mistakes-test.png
    python benchmarks/errors.py table
    python benchmarks/errors.py duplicates                      accuracy without near-duplicates

A review is of a random sample of the mistakes. Each sheet shows enlarged images with two names, the
label and the prediction, in random order; nothing on it tells which is which. The answers are
``A`` or ``B`` for the name that fits, ``AB`` where both are possible, ``-`` where neither fits, in
the column ``answer`` of ``benchmarks/results/errors/NAME-review.csv``.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from common import (
    RESULTS,
    Result,
    make_parser,
    measurement_context,
    read_result,
    use_shared_data,
    write_result,
)
from tables import markdown_table

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset, Split

FOLDER = RESULTS / "errors"
SAMPLE = 120
"""Mistakes that are reviewed, at most."""
ANSWERS = ("A", "B", "AB", "-")
CATEGORIES = {
    "network": "the label fits, the prediction does not: clearly incorrect",
    "label": "the prediction fits, the label does not: mislabeled",
    "both": "both are possible: ambiguous",
    "neither": "neither fits",
}
SCALE, COLUMNS, ROWS = 5, 6, 4
"""Enlargement, and the tiles of a sheet."""
CAPTION = 34
"""Height of the text below an image, in pixels."""
THRESHOLDS = (0.98, 0.985, 0.99, 0.995)
Mistakes = list[dict[str, Any]]


def load_split(name: str) -> tuple[Dataset, Split]:
    """Return Fashion-MNIST and one of its splits, with the indices in the official files."""
    from fashioncnn.config import source_from_environment
    from fashioncnn.data.load import load_dataset
    from fashioncnn.data.splits import stratified_split_indices

    use_shared_data()
    dataset = load_dataset(source_from_environment())
    if name == "test":
        return dataset, dataset.require_test()
    train = dataset.train
    return dataset, train.subset(stratified_split_indices(train.labels, len(train) // 6)[1])


def record(model: Path, split_name: str, name: str) -> Result:
    """Return the mistakes of a model on a split, and write them to a result file."""
    from fashioncnn.evaluation.metrics import wilson_interval
    from fashioncnn.loading import open_model

    loaded = open_model(model, threads=1)
    dataset, split = load_split(split_name)
    probabilities = loaded.predictor.predict_images(split.images).probabilities
    predicted = probabilities.argmax(1)
    incorrect = np.flatnonzero(predicted != split.labels)
    correct = len(split) - len(incorrect)
    result = {
        "model": str(model.name),
        "weights_sha256": loaded.description.weights_sha256,
        "split": split_name,
        "n": len(split),
        "accuracy": correct / len(split),
        "accuracy_ci95": wilson_interval(correct, len(split)),
        "classes": list(dataset.class_names),
        "mistakes": [
            {
                "index": int(split.indices[i]),
                "label": int(split.labels[i]),
                "predicted": int(predicted[i]),
                "confidence": round(float(probabilities[i].max()), 4),
            }
            for i in incorrect
        ],
        **measurement_context(),
    }
    write_result(FOLDER / f"{name}.json", result)
    return result


def sample_of(mistakes: Mistakes) -> list[tuple[dict[str, Any], bool]]:
    """Return the mistakes to review in random order, and whether the label is shown first."""
    generator = np.random.default_rng(0)
    order = generator.permutation(len(mistakes))[:SAMPLE]
    label_first = generator.random(len(order)) < 0.5
    return [(mistakes[i], bool(first)) for i, first in zip(order, label_first, strict=True)]


def names_shown(mistake: dict[str, Any], label_first: bool, classes: list[str]) -> tuple[str, str]:
    """Return label and prediction in the order of the sheet."""
    pair = classes[mistake["label"]], classes[mistake["predicted"]]
    return pair if label_first else (pair[1], pair[0])


def enlarge(image: NDArray[np.uint8], scale: int = SCALE) -> Image.Image:
    """Return an image inverted, dark on light as it was photographed, and enlarged smoothly."""
    size = (image.shape[1] * scale, image.shape[0] * scale)
    return Image.fromarray(255 - image).resize(size, Image.Resampling.BICUBIC)


def draw_tiles(
    images: list[NDArray[np.uint8]], captions: list[tuple[str, str]], columns: int, scale: int
) -> Image.Image:
    """Return images in rows, with two lines below each."""
    side = images[0].shape[0] * scale
    width, height = side + 12, side + CAPTION
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, (image, lines) in enumerate(zip(images, captions, strict=True)):
        left, top = number % columns * width + 6, number // columns * height
        sheet.paste(enlarge(image, scale), (left, top))
        for row, line in enumerate(lines):
            draw.text((left, top + side + 15 * row), line, "black", font)
    return sheet


def write_sheets(name: str, folder: Path) -> None:
    """Write the sheets of a review to a folder, and a list for the answers unless it exists."""
    result = read_result(FOLDER / f"{name}.json")
    _, split = load_split(result["split"])
    position = {int(index): i for i, index in enumerate(split.indices)}
    sample = sample_of(result["mistakes"])
    shown = [names_shown(mistake, first, result["classes"]) for mistake, first in sample]
    captions = [(f"{n}  A: {a}", f"B: {b}") for n, (a, b) in enumerate(shown, 1)]
    images = [split.images[position[mistake["index"]]] for mistake, _ in sample]
    folder.mkdir(parents=True, exist_ok=True)
    step = COLUMNS * ROWS
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        sheet = draw_tiles(images[part], captions[part], COLUMNS, SCALE)
        sheet.save(folder / f"{name}-{start // step + 1}.png")
    path = FOLDER / f"{name}-review.csv"
    if not path.exists():
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("index", "A", "B", "answer"))
            writer.writerows(
                (mistake["index"], *pair, "")
                for (mistake, _), pair in zip(sample, shown, strict=True)
            )


def read_review(name: str) -> dict[int, str]:
    """Return the category of each reviewed mistake by index; see `CATEGORIES`.

    Raises:
        SystemExit: an answer is missing or unknown, or the list is not of these mistakes.
    """
    path = FOLDER / f"{name}-review.csv"
    result = read_result(FOLDER / f"{name}.json")
    mistakes = {mistake["index"]: mistake for mistake in result["mistakes"]}
    categories = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            mistake = mistakes.get(int(row["index"]))
            if row["answer"] not in ANSWERS or mistake is None:
                raise SystemExit(f"{path}: {row}: no mistake of {name}, or no answer")
            label, predicted = (result["classes"][mistake[key]] for key in ("label", "predicted"))
            fits = {row[letter] for letter in row["answer"].replace("-", "")}
            if {row["A"], row["B"]} != {label, predicted}:
                raise SystemExit(f"{path}: {row}: expected {label} and {predicted}")
            by_fit = {(True, False): "network", (False, True): "label", (True, True): "both"}
            categories[mistake["index"]] = by_fit.get((label in fits, predicted in fits), "neither")
    return categories


def recorded() -> list[str]:
    """Return the names of all recorded lists of mistakes."""
    return [path.stem for path in sorted(FOLDER.glob("*.json")) if path.stem != "duplicates"]


def table() -> str:
    """Return the categories of each review as a Markdown table, with Wilson intervals."""
    from fashioncnn.evaluation.metrics import wilson_interval

    rows = []
    for name in recorded():
        if not (FOLDER / f"{name}-review.csv").exists():
            continue
        result, found = read_result(FOLDER / f"{name}.json"), list(read_review(name).values())
        error = 1 - result["accuracy"]
        model = result["model"].removesuffix(f"-{result['split']}")
        for category, meaning in CATEGORIES.items():
            count = found.count(category)
            low, high = wilson_interval(count, len(found))
            rows.append(
                (
                    f"`{model}`, {result['split']}",
                    meaning,
                    f"{count} of {len(found)}",
                    f"{count / len(found):.0%} [{low:.0%} – {high:.0%}]",
                    f"{100 * error * count / len(found):.2f} "
                    f"[{100 * error * low:.2f} – {100 * error * high:.2f}]",
                )
            )
    columns = ("mistakes of", "category", "reviewed", "fraction", "points of accuracy")
    return markdown_table(columns, rows, left=(0, 1))


def write_figure(name: str, path: Path, per_category: int = 10) -> None:
    """Draw examples of each category, the first of the review, in rows."""
    from fashioncnn.files import write_png

    result = read_result(FOLDER / f"{name}.json")
    _, split = load_split(result["split"])
    position = {int(index): i for i, index in enumerate(split.indices)}
    mistakes = {mistake["index"]: mistake for mistake in result["mistakes"]}
    review = read_review(name)
    strips = []
    for category, meaning in CATEGORIES.items():
        chosen = [index for index, found in review.items() if found == category][:per_category]
        if not chosen:
            continue
        captions = [_caption(mistakes[index], result["classes"]) for index in chosen]
        images = [split.images[position[index]] for index in chosen]
        strips.append((meaning, draw_tiles(images, captions, per_category, 3)))
    width = max(strip.width for _, strip in strips)
    height = sum(strip.height + 24 for _, strip in strips)
    figure = Image.new("RGB", (width, height), "white")
    draw, top = ImageDraw.Draw(figure), 0
    for meaning, strip in strips:
        draw.text((6, top + 2), meaning, "black", ImageFont.load_default(14))
        figure.paste(strip, (0, top + 24))
        top += strip.height + 24
    write_png(path, figure.quantize(32))


def _caption(mistake: dict[str, Any], classes: list[str]) -> tuple[str, str]:
    short = [
        name.replace("Ankle boot", "Boot").replace("T-shirt/top", "T-shirt") for name in classes
    ]
    return f"label {short[mistake['label']]}", f"pred. {short[mistake['predicted']]}"


def count_duplicates() -> Result:
    """Return near-duplicates of test images among training images, and accuracies without them."""
    from fashioncnn.data.duplicates import find_duplicates

    dataset, test = load_split("test")
    rows = []
    for threshold in THRESHOLDS:
        found = find_duplicates(dataset.splits, threshold)
        near = next(d.near for d in found if (d.first, d.second) == ("train", "test"))
        rows.append(
            {
                "counts": [{k: v for k, v in d.to_json().items() if k != "listed"} for d in found],
                "by_class": np.bincount(test.labels[near], minlength=10).tolist(),
                "models": {name: _without(name, near) for name in recorded() if "-test" in name},
            }
        )
    result = {"rows": rows, **measurement_context()}
    write_result(FOLDER / "duplicates.json", result)
    return result


def _without(name: str, near: NDArray[np.bool_]) -> Result:
    """Return the numbers of images and mistakes with and without a near-duplicate."""
    incorrect = np.zeros(len(near), bool)
    incorrect[[m["index"] for m in read_result(FOLDER / f"{name}.json")["mistakes"]]] = True
    return {
        key: {"n": int(chosen.sum()), "mistakes": int((incorrect & chosen).sum())}
        for key, chosen in (("near", near), ("others", ~near))
    }


def duplicates_table(result: Result) -> str:
    """Return the recorded numbers as a Markdown table."""
    rows = []
    for row in result["rows"]:
        counts = {tuple(c["splits"]): c for c in row["counts"]}
        between, within = counts["train", "test"], counts["train", "train"]
        cells = [
            f"{between['similarity']:g}",
            f"{within['near_images']:,}",
            f"{between['near_images']:,}",
            str(between["near_pairs_with_other_label"]),
            str(row["by_class"][1]),
        ]
        for name in ("accurate-test", "medium-test"):
            near, others = row["models"][name]["near"], row["models"][name]["others"]
            cells.append(f"{near['mistakes']} of {near['n']:,}")
            cells.append(f"{1 - others['mistakes'] / others['n']:.2%}")
        rows.append(cells)
    columns = (
        *("correlation", "train", "test, also in train", "pairs with another label", "trousers"),
        *("mistakes of `accurate`", "without them"),
        *("mistakes of `medium`", "without them"),
    )
    return markdown_table(columns, rows, left=())


def main() -> None:
    """Run one step of the analysis."""
    parser = make_parser(__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("record", help="write the mistakes of a model to a file")
    step.add_argument("model", type=Path, help="a run, a model, or a bundled one")
    step.add_argument("--split", choices=("validation", "test"), required=True)
    step.add_argument("--name", help="of the result; default: MODEL-SPLIT")
    step = steps.add_parser("sheets", help="write sheets to review, and a list for the answers")
    step.add_argument("name", help="of a result")
    step.add_argument("folder", type=Path)
    step = steps.add_parser("figure", help="draw examples of each category")
    step.add_argument("name", help="of a result")
    step.add_argument("path", type=Path)
    steps.add_parser("table", help="print the categories of all reviews")
    steps.add_parser("duplicates", help="count near-duplicates, and accuracies without them")
    options = parser.parse_args()
    if options.step == "record":
        name = options.name or f"{options.model.name}-{options.split}"
        result = record(options.model, options.split, name)
        print(f"{name}: {len(result['mistakes'])} mistakes of {result['n']:,}")
    elif options.step == "sheets":
        write_sheets(options.name, options.folder)
    elif options.step == "figure":
        write_figure(options.name, options.path)
    elif options.step == "table":
        print(table())
    elif options.step == "duplicates":
        print(duplicates_table(count_duplicates()))


if __name__ == "__main__":
    main()
