"""Numbers of predictions: how many images were found, failed, or are doubtful."""

from __future__ import annotations

from dataclasses import dataclass, field

from fashioncnn.inference.predictor import Prediction

MAX_NAMES = 3
"""Images that are named among those with several garments."""


@dataclass
class Counts:
    """Numbers of predictions.

    Attributes:
        images: all images.
        found: images whose source exists.
        failed: images that could not be read.
        abstained: images for which the model abstains.
        resized: images of another size than the model input.
        several: names of the first images with several garments, at most `MAX_NAMES`.
        more: other images with several garments.
    """

    images: int = 0
    found: int = 0
    failed: int = 0
    abstained: int = 0
    resized: int = 0
    several: list[str] = field(default_factory=list)
    more: int = 0

    def count(self, prediction: Prediction, name: str | None = None) -> None:
        """Count a prediction.

        Args:
            prediction: to count.
            name: of its image; by default its source.
        """
        self.images += 1
        self.found += prediction.found
        self.failed += prediction.error is not None
        self.abstained += prediction.abstained
        self.resized += prediction.resized
        if prediction.several_garments and len(self.several) < MAX_NAMES:
            self.several.append(name or prediction.source)
        else:
            self.more += prediction.several_garments

    def add(self, other: Counts) -> None:
        """Add the numbers of the images that follow."""
        self.images += other.images
        self.found += other.found
        self.failed += other.failed
        self.abstained += other.abstained
        self.resized += other.resized
        named = other.several[: MAX_NAMES - len(self.several)]
        self.several += named
        self.more += other.more + len(other.several) - len(named)
