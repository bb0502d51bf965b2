"""Draw a figure of all augmentations: one row each, always of the same images.

python benchmarks/augmentation_figure.py docs/img/augmentations.png
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from common import make_parser, use_shared_data
from fashioncnn.augmentation.pipeline import Augmentation
from fashioncnn.config import source_from_environment
from fashioncnn.data.dataset import Split
from fashioncnn.data.load import load_dataset
from fashioncnn.settings import AugmentationConfig
from studies import label_of
from study_variants import AUGMENTATIONS, REFERENCE

CLASSES = (6, 0, 3, 1, 9, 7, 5, 8)
"""Labels of the images in a row: the first training image of each."""


def augment_examples(split: Split, settings: dict[str, float]) -> Tensor:
    """Return (n, 1, size, size) uint8: the first image of each of `CLASSES`, augmented."""
    first = [int((split.labels == code).argmax()) for code in CLASSES]
    indices = torch.tensor(first)
    images = torch.from_numpy(split.images[first]).unsqueeze(1)
    augmentation = Augmentation(AugmentationConfig.model_validate(settings), 0, len(split))
    augmented = augmentation(images, indices, 0)
    if augmentation.mixes:
        augmented, _ = augmentation.mix(augmented, indices, 0)
    return augmented


def draw_figure(split: Split) -> Figure:
    """Return the figure, with a first row of unchanged images."""
    rows: dict[str, dict[str, float]] = {REFERENCE: {}, **AUGMENTATIONS}
    figure = Figure(figsize=(len(CLASSES) * 0.8 + 1.2, len(rows) * 0.8))
    grid = figure.subplots(len(rows), len(CLASSES))
    for axes, (variant, settings) in zip(grid, rows.items(), strict=True):
        draw_row(list(axes), label_of(variant), augment_examples(split, settings))
    figure.subplots_adjust(left=0.2, right=0.99, top=0.99, bottom=0.01, hspace=0.06, wspace=0.06)
    return figure


def draw_row(axes: list[Axes], label: str, images: Tensor) -> None:
    """Draw one row with its label to the left."""
    for axis, image in zip(axes, images, strict=True):
        axis.imshow(image[0].numpy(), cmap="gray", vmin=0, vmax=255)
        axis.set_axis_off()
    axes[0].text(-0.25, 0.5, label, transform=axes[0].transAxes, ha="right", va="center")


def main() -> None:
    """Write the figure."""
    parser = make_parser(__doc__)
    parser.add_argument("figure", type=Path, help="a PNG to write")
    figure: Path = parser.parse_args().figure
    use_shared_data()
    split = load_dataset(source_from_environment()).train
    figure.parent.mkdir(parents=True, exist_ok=True)
    draw_figure(split).savefig(figure, dpi=110)


if __name__ == "__main__":
    main()
