"""The most confident mistakes of a run, with their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.dataset import Split
from fashioncnn.evaluation.metrics import Labels, Logits, softmax
from fashioncnn.evaluation.predictions import load_predictions
from fashioncnn.images.data_uri import data_uri
from fashioncnn.reporting.tables import one_line
from fashioncnn.runs import RunFolder

MISTAKES_SHOWN = 24


@dataclass(frozen=True)
class Mistake:
    """An incorrect prediction.

    Attributes:
        image: PNG as a data URI.
        true: name of the true class.
        predicted: name of the predicted class.
        confidence: probability of the predicted class, in [0, 1].
        index: position of the image in its split.
        name: of the image, such as the path of its file in the data; empty if it has none.
    """

    image: str
    true: str
    predicted: str
    confidence: float
    index: int
    name: str = ""

    def __repr__(self) -> str:
        return f"Mistake({self.true} → {self.predicted} {self.confidence:.1%}, {self.shown_name})"

    @property
    def shown_name(self) -> str:
        """The name of the image in one line, else its position."""
        return one_line(self.name) or f"image {self.index}"


def find_mistakes(
    run: RunFolder, metrics: dict[str, Any], splits: dict[str, Split]
) -> list[Mistake]:
    """Return the most confident mistakes, most confident first.

    They are of the test split if it was evaluated, else of the validation split. Probabilities are
    after temperature scaling, as in ``predict``.

    Args:
        run: with stored predictions.
        metrics: content of metrics.json.
        splits: images by name of the split; see `has_evaluated_images`.

    Returns:
        At most `MISTAKES_SHOWN`; empty if the images are not available.
    """
    split = evaluated_split(metrics)
    if split is None or not has_evaluated_images(run, metrics, splits):
        return []
    predictions = load_predictions(run.predictions)[0][split]
    evaluated = splits[split].within_classes()
    mistakes = worst_mistakes(
        predictions.logits,
        predictions.labels,
        evaluated.images,
        [c["name"] for c in metrics[split]["per_class"]],
        file_names=evaluated.names,
        temperature=metrics[split].get("calibrated", {}).get("temperature", 1.0),
    )
    positions = np.flatnonzero(splits[split].in_classes)
    return [replace(mistake, index=int(positions[mistake.index])) for mistake in mistakes]


def worst_mistakes(
    logits: Logits,
    labels: Labels,
    images: NDArray[np.uint8],
    names: Sequence[str],
    *,
    file_names: Sequence[str] | None = None,
    temperature: float = 1.0,
    count: int = MISTAKES_SHOWN,
) -> list[Mistake]:
    """Return the `count` most confident mistakes at most, most confident first.

    Args:
        logits: (n, classes) float32.
        labels: (n,) uint8.
        images: (n, size, size[, 3]) uint8.
        names: of the classes, by label.
        file_names: of the images; None for none.
        temperature: divides the logits.
        count: the most to return.
    """
    probabilities = softmax(logits / np.float32(temperature))
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    incorrect = np.flatnonzero(predicted != labels)
    most_confident = incorrect[np.argsort(-confidence[incorrect], kind="stable")][:count]
    return [
        Mistake(
            image=data_uri(images[i]),
            true=names[labels[i]],
            predicted=names[predicted[i]],
            confidence=float(confidence[i]),
            index=int(i),
            name="" if file_names is None else file_names[i],
        )
        for i in most_confident
    ]


def has_evaluated_images(run: RunFolder, metrics: dict[str, Any], splits: dict[str, Split]) -> bool:
    """Return whether `splits` has the images that the stored predictions are for (by SHA-256).

    Images outside of the classes have no predictions.
    """
    split = evaluated_split(metrics)
    if split is None or split not in splits:
        return False
    predictions, identity = load_predictions(run.predictions)
    sha256 = splits[split].within_classes().sha256
    return split in predictions and identity.get(f"{split}_sha256") == sha256


def evaluated_split(metrics: dict[str, Any]) -> str | None:
    """Return the split that a report shows: test if it was evaluated, else validation, or None.

    Args:
        metrics: content of metrics.json.
    """
    return next((split for split in ("test", "validation") if metrics[split]), None)
