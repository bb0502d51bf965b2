"""Measure accuracy on photographs, the contribution of each step, and OOD detection.

    python benchmarks/photos.py --photos clothing-dataset-small/validation --plain runs/some-run
    python benchmarks/photos.py --photos … --model photo --ood ood-images

The photographs are those of https://github.com/alexeygrigorev/clothing-dataset-small (CC0): ten
class folders, of which seven correspond to classes of Fashion-MNIST and three to none. No model is
trained on them, and abstention thresholds are fitted without them. ``--ood`` takes the folder that
``benchmarks/ood_images.py`` creates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common import make_parser
from tables import markdown_table

if TYPE_CHECKING:
    from fashioncnn.inference.predictor import Predictor

CLASSES: dict[str, tuple[int, ...]] = {
    "t-shirt": (0,),
    "pants": (1,),
    "longsleeve": (2,),
    "dress": (3,),
    "outwear": (4,),
    "shirt": (6,),
    "shoes": (5, 7, 9),
}
"""Labels of Fashion-MNIST that are correct for a folder; the photographs do not distinguish kinds
of shoes."""
OTHER_CLOTHING = ("hat", "shorts", "skirt")
"""Folders of clothing that belongs to none of the ten classes."""
NOT_CLOTHING = ("noise", "textures", "text", "charts", "shapes")
"""Folders of `ood_images.py`."""
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
"""Confidences below which to abstain, evaluated besides the model's own threshold."""

Floats = NDArray[np.float64]
ViewFunction = Callable[[Image.Image, int], NDArray[np.uint8]]
"""From an image and a side in pixels to (views, side, side)."""


def squeezed_view(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return the image in grey, resized to a square and inverted, as most tutorials do."""
    grey = image.convert("L").resize((size, size), Image.Resampling.BILINEAR)
    return 255 - np.asarray(grey)[None]


def read_folders(folder: Path, names: Sequence[str]) -> dict[str, list[Image.Image]]:
    """Return the images of each named subfolder, upright."""
    from fashioncnn.images.decoding import read_image
    from fashioncnn.images.files import walk_images

    return {name: [read_image(p) for p in walk_images(folder / name)] for name in names}


def predict_folders(
    predictor: Predictor, photos: dict[str, list[Image.Image]], view_function: ViewFunction
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Return (n, classes) probabilities and (n,) confidences by folder."""
    size = predictor.spec.preprocessing.image_size
    predictions = {
        name: predictor.predict_views([view_function(image, size) for image in images])
        for name, images in photos.items()
    }
    probabilities = {name: p.probabilities for name, p in predictions.items()}
    return probabilities, {name: p.confidences for name, p in predictions.items()}


def is_correct(name: str, probabilities: Floats) -> NDArray[np.bool_]:
    """Return (n,) whether each prediction for a folder is correct."""
    return np.isin(probabilities.argmax(1), CLASSES[name])


def accuracy_row(title: str, probabilities: dict[str, Floats]) -> tuple[str, ...]:
    """Return the cells of a step: accuracy, its Wilson interval, macro accuracy, each folder."""
    from fashioncnn.evaluation.metrics import wilson_interval

    correct = {name: is_correct(name, probabilities[name]) for name in CLASSES}
    pooled = np.concatenate(list(correct.values()))
    low, high = wilson_interval(int(pooled.sum()), len(pooled))
    macro = np.mean([values.mean() for values in correct.values()])
    return (
        title,
        f"{100 * pooled.mean():.1f}%",
        f"{100 * low:.1f} – {100 * high:.1f}%",
        f"{100 * macro:.1f}%",
        *(f"{100 * values.mean():.0f}" for values in correct.values()),
    )


def auroc(in_distribution: Floats, ood: Floats) -> float:
    """Return the probability that an in-distribution score is higher (Mann and Whitney 1947)."""
    from scipy.stats import mannwhitneyu

    u = mannwhitneyu(in_distribution, ood).statistic
    return float(u / (len(in_distribution) * len(ood)))


def pool(values: dict[str, Floats], names: Sequence[str]) -> Floats:
    """Return (n,) the values of all named folders that exist."""
    return np.concatenate([np.empty(0), *(values[name] for name in names if name in values)])


def ood_table(confidences: dict[str, Floats]) -> str:
    """Return the AUROC of the confidence for each group of OOD images, and each folder of it."""
    in_distribution = pool(confidences, list(CLASSES))
    rows = []
    for group in (OTHER_CLOTHING, NOT_CLOTHING):
        present = [name for name in group if name in confidences]
        for names in [present, *([name] for name in present)] if present else []:
            ood = pool(confidences, names)
            rows.append((", ".join(names), str(len(ood)), f"{auroc(in_distribution, ood):.3f}"))
    return markdown_table(("out of distribution", "n", "AUROC"), rows)


def abstention_table(
    probabilities: dict[str, Floats], confidences: dict[str, Floats], own: float
) -> str:
    """Return correct and incorrect predictions dropped, by abstention threshold.

    Args:
        probabilities: (n, classes) by folder.
        confidences: (n,) by folder.
        own: the model's own threshold.
    """
    scores = pool(confidences, list(CLASSES))
    correct = np.concatenate([is_correct(name, probabilities[name]) for name in CLASSES])
    clothing, other = pool(confidences, OTHER_CLOTHING), pool(confidences, NOT_CLOTHING)
    rows = []
    for threshold in sorted({*THRESHOLDS, own}):
        kept = scores >= threshold
        rows.append(
            (
                f"{threshold:.3f}{' (own)' if threshold == own else ''}",
                f"{(~kept & correct).sum()} of {correct.sum()}",
                f"{(~kept & ~correct).sum()} of {(~correct).sum()}",
                f"{(clothing < threshold).sum()} of {len(clothing)}",
                f"{(other < threshold).sum()} of {len(other)}",
                f"{100 * correct[kept].mean():.1f}% of {kept.sum()}" if kept.any() else "–",
            )
        )
    columns = (
        "abstain below",
        "correct dropped",
        "incorrect dropped",
        f"{', '.join(OTHER_CLOTHING)} dropped",
        "no clothing dropped",
        "accuracy of the rest",
    )
    return markdown_table(columns, rows, left=())


def accuracy_steps(
    photo: Predictor, plain: Predictor | None
) -> list[tuple[str, Predictor, ViewFunction]]:
    """Return the steps from the simplest conversion to that of ``predict``."""
    from fashioncnn.images.views import VIEW_FUNCTIONS
    from fashioncnn.inference.predictor import Predictor

    cutout, own = VIEW_FUNCTIONS["cutout"], VIEW_FUNCTIONS[photo.spec.preprocessing.views]
    without_tta = Predictor(photo.backend, photo.spec.replace(tta="none"))
    steps = [
        ("photo network: grey, squeezed, inverted", without_tta, squeezed_view),
        ("photo network: cut-out", without_tta, cutout),
        ("photo network: cut-out and whole image", without_tta, own),
        ("photo network: and flip TTA, as `predict` does", photo, own),
    ]
    if plain is None:
        return steps
    return [
        ("grey, squeezed, inverted", plain, squeezed_view),
        ("border trimmed", plain, VIEW_FUNCTIONS["fashion"]),
        ("cut-out", plain, cutout),
        *steps,
    ]


def main() -> None:
    """Print the tables."""
    from fashioncnn.images.views import VIEW_FUNCTIONS
    from fashioncnn.models.backend import torch_predictor
    from fashioncnn.models.trained_model import load_model

    parser = make_parser(__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="folder of class folders")
    parser.add_argument("--model", type=Path, default=Path("photo"))
    parser.add_argument("--plain", type=Path, help="a model trained without photograph rendering")
    parser.add_argument("--ood", type=Path, help="folder of images without clothing")
    options = parser.parse_args()
    photos = read_folders(options.photos, [*CLASSES, *OTHER_CLOTHING])
    predictor = torch_predictor(load_model(options.model))
    plain = torch_predictor(load_model(options.plain)) if options.plain else None
    steps = accuracy_steps(predictor, plain)
    rows = [accuracy_row(title, predict_folders(p, photos, f)[0]) for title, p, f in steps]
    folders = [f"{name} ({len(photos[name])})" for name in CLASSES]
    print(markdown_table(("step", "accuracy", "95% interval", "macro", *folders), rows))
    if options.ood:
        photos |= read_folders(options.ood, NOT_CLOTHING)
    view_function = VIEW_FUNCTIONS[predictor.spec.preprocessing.views]
    probabilities, confidences = predict_folders(predictor, photos, view_function)
    print(f"\n{ood_table(confidences)}")
    print(f"\n{abstention_table(probabilities, confidences, predictor.spec.abstain_below)}")


if __name__ == "__main__":
    main()
