"""How well photographs are named, and what each step from the naive way gives.

    python benchmarks/photos.py --photos clothing-dataset-small/validation --plain runs/some-run
    python benchmarks/photos.py --photos … --model photo --not-clothing not-clothing

The photographs are those of https://github.com/alexeygrigorev/clothing-dataset-small (validation
part, CC0): folders by name, of which seven stand for classes of Fashion-MNIST and three for none.
Nothing is trained on them, and the bound of "unsure" is fitted without them. ``--not-clothing``
takes the folder that ``benchmarks/not_clothing.py`` draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from fashioncnn.models.trained_model import TrainedModel

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
NOT_CLOTHING = ("noise", "textures", "text", "charts", "shapes")
BOUNDS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
"""Confidences to show the trade-off of abstaining at, besides the model's own bound."""

Views = NDArray[np.uint8]
See = Callable[[Image.Image, int], Views]


def naive(image: Image.Image, size: int) -> Views:
    """Grey, squeezed, inverted: what most tutorials do."""
    grey = image.convert("L").resize((size, size), Image.Resampling.BILINEAR)
    return 255 - np.asarray(grey)[None]


def read(folder: Path, names: Sequence[str]) -> dict[str, list[Image.Image]]:
    """Return the images, upright, by folder."""
    from fashioncnn.images.decoding import read_image
    from fashioncnn.images.files import walk_images

    return {name: [read_image(p) for p in walk_images(folder / name)] for name in names}


def probabilities(
    trained: TrainedModel, photos: dict[str, list[Image.Image]], see: See
) -> dict[str, NDArray[np.float64]]:
    """Return (n, classes) for each folder."""
    return {name: answers for name, (answers, _) in judged(trained, photos, see).items()}


def judged(
    trained: TrainedModel, photos: dict[str, list[Image.Image]], see: See
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return (n, classes) probabilities and (n,) confidences for each folder."""
    from fashioncnn.inference.predictor import predict_with_confidence

    size = trained.preprocessing.image_size
    return {
        name: predict_with_confidence(trained, [see(image, size) for image in images])
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


def together(values: dict[str, NDArray[np.float64]], names: Sequence[str]) -> NDArray[np.float64]:
    """Return (n,) of all images of the named folders."""
    return np.concatenate([values[name] for name in names])


def detections(confidences: dict[str, NDArray[np.float64]]) -> str:
    """Return a table of how well the confidence tells what is none of the ten."""
    inside = together(confidences, list(CLASSES))
    lines = ["| none of the ten | n | AUROC |", "| --- | ---: | ---: |"]
    for names in (NONE_OF_THE_TEN, NOT_CLOTHING):
        known = [name for name in names if name in confidences]
        for some in [known, *([name] for name in known)] if known else []:
            outside = together(confidences, some)
            lines.append(f"| {', '.join(some)} | {len(outside)} | {auroc(inside, outside):.3f} |")
    return "\n".join(lines)


def trade_off(
    answers: dict[str, NDArray[np.float64]],
    confidences: dict[str, NDArray[np.float64]],
    own: float,
) -> str:
    """Return a table of right answers lost and wrong ones avoided, by the bound of "unsure"."""
    inside = together(confidences, list(CLASSES))
    hits = np.concatenate([right(name, answers[name]) for name in CLASSES])
    others = together(confidences, NONE_OF_THE_TEN)
    drawn = [name for name in NOT_CLOTHING if name in confidences]
    nothing = together(confidences, drawn) if drawn else np.empty(0)
    lines = [
        "| unsure below | right answers lost | wrong ones avoided | hat, shorts, skirt avoided "
        "| no clothing avoided | right among those answered |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for bound in sorted({*BOUNDS, own}):
        kept = inside >= bound
        lost, avoided = (~kept & hits).sum(), (~kept & ~hits).sum()
        lines.append(
            f"| {bound:.3f}{' (its own)' if bound == own else ''} | {lost} of {hits.sum()} "
            f"| {avoided} of {(~hits).sum()} | {(others < bound).sum()} of {len(others)} "
            f"| {(nothing < bound).sum()} of {len(nothing)} "
            f"| {f'{100 * hits[kept].mean():.1f}% of {kept.sum()}' if kept.any() else '–'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    from fashioncnn.images.views import VIEW_FUNCTIONS
    from fashioncnn.models.trained_model import load_model

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="their folder")
    parser.add_argument("--model", type=Path, default=Path("photo"))
    parser.add_argument("--plain", type=Path, help="a network that has seen no photograph's like")
    parser.add_argument("--not-clothing", type=Path, help="images of none, drawn")
    options = parser.parse_args()
    photos = read(options.photos, [*CLASSES, *NONE_OF_THE_TEN])
    trained = load_model(options.model)

    def by(fit: str) -> See:
        return VIEW_FUNCTIONS[fit]

    steps: list[tuple[str, TrainedModel, See]] = []
    if options.plain:
        plain = load_model(options.plain)
        steps = [
            ("grey, squeezed, inverted", plain, naive),
            ("its border colour trimmed", plain, by("fashion")),
            ("the garment cut out", plain, by("cutout")),
        ]
    own = trained.preprocessing.views
    unmirrored = replace(trained, preprocessing=replace(trained.preprocessing, views="cutout"))
    steps += [
        ("photo network: grey, squeezed, inverted", unmirrored, naive),
        ("photo network: cut out", unmirrored, by("cutout")),
        ("photo network: cut out, and whole", unmirrored, by(own)),
        ("photo network: and mirrored, as `predict` does", trained, by(own)),
    ]
    counts = " | ".join(f"{name} ({len(photos[name])})" for name in CLASSES)
    print(f"| step | right | 95% interval | macro | {counts} |")
    print("| --- |" + " ---: |" * (3 + len(CLASSES)))
    for title, model, see in steps:
        print(row(title, probabilities(model, photos, see)), flush=True)
    if options.not_clothing:
        photos |= read(options.not_clothing, NOT_CLOTHING)
    told = judged(trained, photos, by(own))
    answers, confidences = ({name: pair[i] for name, pair in told.items()} for i in (0, 1))
    print(f"\n{detections(confidences)}")
    print(f"\n{trade_off(answers, confidences, trained.abstain_below)}")


if __name__ == "__main__":
    main()
