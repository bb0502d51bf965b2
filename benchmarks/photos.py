"""How well photographs are named, and what each step from the naive way gives.

    python benchmarks/photos.py --photos ../shared/photos --model photo
    python benchmarks/photos.py --photos ../shared/photos --model photo --plain accurate

The photographs are those of https://github.com/alexeygrigorev/clothing-dataset-small (validation
part, CC0): folders by name, of which seven stand for classes of Fashion-MNIST and three for none.
Nothing is trained on them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES: dict[str, tuple[int, ...]] = {
    "t-shirt": (0,),
    "pants": (1,),
    "longsleeve": (2,),
    "dress": (3,),
    "outwear": (4,),
    "shirt": (6,),
    "shoes": (5, 7, 9),
}
"""Folders and what is right for them; the data tells no kinds of shoes apart."""
NONE_OF_THE_TEN = ("hat", "shorts", "skirt")

Views = NDArray[np.uint8]
See = Callable[[Image.Image, int], Views]


def naive(image: Image.Image, size: int) -> Views:
    """Grey, squeezed, inverted: what most tutorials do."""
    grey = image.convert("L").resize((size, size), Image.Resampling.BILINEAR)
    return 255 - np.asarray(grey)[None]


def read(folder: Path) -> dict[str, list[Image.Image]]:
    """Return the photographs, upright, by folder."""
    from fashioncnn.data.folders import find_pictures
    from fashioncnn.data.pictures import read_picture

    names = [*CLASSES, *NONE_OF_THE_TEN]
    return {name: [read_picture(p) for p in find_pictures(folder / name)] for name in names}


def probabilities(
    model: Path, photos: dict[str, list[Image.Image]], see: See
) -> dict[str, NDArray[np.float64]]:
    """Return (n, classes) for each folder."""
    from fashioncnn.inference.predictor import predict_views
    from fashioncnn.models.store import load_model

    trained = load_model(model)
    size = trained.preprocessing.image_size
    return {
        name: predict_views(trained, [see(image, size) for image in images])
        for name, images in photos.items()
    }


def right(name: str, answers: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (n,) whether each answer is right."""
    return np.isin(answers.argmax(1), CLASSES[name])


def row(title: str, answers: dict[str, NDArray[np.float64]]) -> str:
    """Return a row of the table of accuracies."""
    from fashioncnn.evaluation.metrics import wilson_interval

    hits = {name: right(name, answers[name]) for name in CLASSES}
    together = np.concatenate(list(hits.values()))
    low, high = wilson_interval(int(together.sum()), len(together))
    macro = np.mean([h.mean() for h in hits.values()])
    cells = [f"{100 * h.mean():.0f}" for h in hits.values()]
    return (
        f"| {title} | {100 * together.mean():.1f}% | {100 * low:.1f} – {100 * high:.1f}% "
        f"| {100 * macro:.1f}% | " + " | ".join(cells) + " |"
    )


def auroc(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """Return how probably an in-class photograph scores above another (Mann and Whitney 1947)."""
    from scipy.stats import mannwhitneyu

    u = mannwhitneyu(inside, outside).statistic
    return float(u / (len(inside) * len(outside)))


def main() -> None:
    """Print the tables."""
    from fashioncnn.data.conversions import CONVERSIONS

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="their folder")
    parser.add_argument("--model", type=Path, default=Path("photo"))
    parser.add_argument("--plain", type=Path, help="a network that has seen no photograph's like")
    options = parser.parse_args()
    photos = read(options.photos)
    steps: list[tuple[str, Path, See]] = []
    if options.plain:
        steps = [
            ("grey, squeezed, inverted", options.plain, naive),
            ("its border colour trimmed", options.plain, CONVERSIONS["fashion"]),
            ("the garment cut out", options.plain, CONVERSIONS["cutout"]),
        ]
    steps += [
        ("photo network: grey, squeezed, inverted", options.model, naive),
        (
            "photo network: cut out, one view",
            options.model,
            lambda i, s: CONVERSIONS["cutout"](i, s)[:1],
        ),
        ("photo network: as `predict` does", options.model, CONVERSIONS["cutout"]),
    ]
    counts = " | ".join(f"{name} ({len(photos[name])})" for name in CLASSES)
    print(f"| step | right | 95% interval | macro | {counts} |")
    print("| --- |" + " ---: |" * (3 + len(CLASSES)))
    for title, model, see in steps:
        answers = probabilities(model, photos, see)
        print(row(title, answers), flush=True)
    score = {name: given.max(1) for name, given in answers.items()}
    inside = np.concatenate([score[name] for name in CLASSES])
    outside = np.concatenate([score[name] for name in NONE_OF_THE_TEN])
    print(
        f"\nAUROC of the highest probability, hat, shorts and skirt against the rest: "
        f"{auroc(inside, outside):.3f} (n = {len(outside)} and {len(inside)})"
    )


if __name__ == "__main__":
    main()
