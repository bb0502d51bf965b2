"""The HTML page of one evaluation: metrics, accuracy against coverage, confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn._version import __version__
from fashioncnn.data.dataset import Split
from fashioncnn.evaluation.selective import accuracy_at_coverage
from fashioncnn.files import write_atomic
from fashioncnn.images.data_uri import data_uri
from fashioncnn.inference.predictor import Predictions
from fashioncnn.reporting.figures import Figure, PercentFormatter, figure_style, to_svg
from fashioncnn.reporting.mistakes import MISTAKES_SHOWN, Mistake
from fashioncnn.reporting.page import page_template
from fashioncnn.reporting.run_figures import LINE_WIDTH, PANEL_SIZE, SPLIT_STYLES
from fashioncnn.reporting.tables import metrics_tables

OUTSIDE = "outside of the classes"


def write_evaluation_page(
    path: Path,
    metrics: dict[str, Any],
    predictions: Predictions,
    split: Split,
    names: Sequence[str],
) -> None:
    """Write the page; an existing file is replaced.

    Args:
        path: of the page.
        metrics: of the split, with `fashioncnn.inference.evaluate.confidence_metrics`.
        predictions: of all images of the split.
        split: with at least one image of the classes.
        names: of the classes, by label.
    """
    inside = split.in_classes
    correct = predictions.probabilities.argmax(1) == split.correct_labels(predictions.probabilities)
    page = page_template("evaluation.html.j2").render(
        metrics=metrics,
        tables=metrics_tables(metrics),
        coverage=coverage_svg(predictions.confidences[inside], correct[inside]),
        mistakes=confident_mistakes(predictions, split, names, inside & ~correct),
        outside=confident_mistakes(predictions, split, names, ~inside),
        version=__version__,
    )
    write_atomic(path, page.encode(errors="replace"))


def confident_mistakes(
    predictions: Predictions, split: Split, names: Sequence[str], chosen: NDArray[np.bool_]
) -> list[Mistake]:
    """Return the most confident predictions among some images, most confident first.

    Args:
        predictions: of all images of the split.
        split: of the images; of several views, the first and the last are shown.
        names: of the classes, by label.
        chosen: (n,) the images to choose from.
    """
    positions = np.flatnonzero(chosen)
    by_confidence = np.argsort(-predictions.confidences[positions], kind="stable")
    views = split.all_views
    return [
        Mistake(
            image=data_uri(_shown(views[i])),
            true=_true_name(split, int(i), names),
            predicted=names[int(predictions.probabilities[i].argmax())],
            confidence=float(predictions.confidences[i]),
            index=int(split.indices[i]),
            name="" if split.names is None else split.names[i],
        )
        for i in positions[by_confidence[:MISTAKES_SHOWN]]
    ]


def coverage_svg(confidences: NDArray[np.float64], correct: NDArray[np.bool_]) -> str:
    """Return accuracy against coverage as SVG for the page.

    Args:
        confidences: (n,), n at least 1.
        correct: (n,) whether each image is classified correctly.
    """
    rows = accuracy_at_coverage(confidences, correct, np.linspace(0.05, 1, 96).tolist())
    with figure_style(svg_hashsalt="coverage"):
        figure = Figure(figsize=PANEL_SIZE, layout="constrained")
        axes = figure.subplots()
        coverage, accuracy = ([row[key] for row in rows] for key in ("coverage", "accuracy"))
        axes.plot(coverage, accuracy, color=SPLIT_STYLES["val"].color, linewidth=LINE_WIDTH)
        axes.set_title("Accuracy against coverage")
        axes.set_xlabel("fraction of the images, most confident first")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        label = f"Accuracy against coverage; {accuracy[-1]:.1%} on all images"
        svg: str = to_svg(figure, label)
    return svg


def _shown(views: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the only view of an image, or the first above the last: cut out, and whole."""
    first: NDArray[np.uint8] = views[0]
    return first if len(views) == 1 else np.concatenate([first, views[-1]])


def _true_name(split: Split, position: int, names: Sequence[str]) -> str:
    if split.allowed is None:
        return names[int(split.labels[position])]
    codes: list[int] = np.flatnonzero(split.allowed[position]).tolist()
    return " or ".join(names[code] for code in codes) or OUTSIDE
