"""The evaluation of a classifier: a dictionary of metrics that a notebook shows as a page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.api.arguments import as_count
from fashioncnn.data.dataset import Split
from fashioncnn.evaluation.metrics import Labels, Logits
from fashioncnn.reporting.latex import table_latex
from fashioncnn.reporting.mistakes import MISTAKES_SHOWN, Mistake, worst_mistakes
from fashioncnn.reporting.tables import Table, metrics_tables, percent, percent_interval

if TYPE_CHECKING:
    import pandas as pd

SHOWN_MISTAKES = 12
"""In the page of a notebook."""


class Evaluation(dict[str, Any]):
    """The metrics of a classifier on labeled images, by the keys of ``metrics.json``.

    Attributes:
        logits: (n, classes) float32.
        labels: (n,) uint8, positions in `class_names`.
        images: (n, size, size) uint8, the first view of each image.
        file_names: of the images; None if they were not read from files.
        history: one record per epoch of the training, if it is known.
    """

    def __init__(
        self,
        metrics: dict[str, Any],
        logits: Logits,
        split: Split,
        history: Sequence[dict[str, Any]] = (),
    ) -> None:
        super().__init__(metrics)
        self.logits = logits
        self.labels: Labels = split.labels
        self.images = split.images
        self.file_names = split.names
        self.history = list(history)

    @property
    def accuracy(self) -> float:
        """The fraction of images that are classified correctly."""
        return float(self["accuracy"])

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the accuracy."""
        low, high = self["accuracy_ci95"]
        return low, high

    @property
    def loss(self) -> float:
        """The mean cross-entropy in nats."""
        return float(self["loss"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(c["name"] for c in self["per_class"])

    @property
    def per_class(self) -> list[dict[str, Any]]:
        """Name, number of images, accuracy and errors of each class."""
        per_class: list[dict[str, Any]] = self["per_class"]
        return per_class

    @property
    def confusion_matrix(self) -> NDArray[np.int64]:
        """Counts, (classes, classes): rows are true classes, columns predictions."""
        return np.array(self["confusion"], np.int64)

    @property
    def confused_pairs(self) -> list[tuple[str, str, int]]:
        """True class, predicted class and count of each confusion, most frequent first."""
        names = self.class_names
        return [
            (names[pair["true"]], names[pair["predicted"]], pair["count"])
            for pair in self["confused_pairs"]
        ]

    @property
    def mistakes(self) -> list[Mistake]:
        """All incorrect predictions, most confident first."""
        return self.worst_mistakes(len(self.labels))

    def worst_mistakes(self, count: int = MISTAKES_SHOWN) -> list[Mistake]:
        """Return the `count` most confident mistakes at most.

        Raises:
            UsageError: `count` is not an integer of at least 0.
        """
        count = as_count("worst_mistakes: count", count, 0)
        temperature = self["calibrated"]["temperature"]
        return worst_mistakes(
            self.logits,
            self.labels,
            self.images,
            self.class_names,
            file_names=self.file_names,
            temperature=temperature,
            count=count,
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per class: images, accuracy (recall), precision, F1 score and errors.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        from fashioncnn.environment import require_modules

        require_modules("pandas")
        import pandas as pd

        rows = [{"class": row[0], **row[1]} for row in self._class_rows()]
        return pd.DataFrame(rows).set_index("class")

    def to_latex(self) -> str:
        r"""Return a ``tabular`` of the classes for a paper; it needs ``\usepackage{booktabs}``."""
        rows = [
            (
                name,
                f"{row['n']:,}",
                percent(row["accuracy"]),
                percent(row["precision"]),
                percent(row["f1"]),
            )
            for name, row in self._class_rows()
        ]
        total = ("All classes", f"{self['n']:,}", percent(self.accuracy), "", "")
        header = ("Class", "Images", "Accuracy", "Precision", "F1")
        table = Table("", header, (*rows, total), "lr", self._sentence())
        return table_latex(table)

    def _class_rows(self) -> list[tuple[str, dict[str, Any]]]:
        counts = self.confusion_matrix
        correct, predicted = np.diagonal(counts), counts.sum(axis=0)
        rows = []
        for code, row in enumerate(self.per_class):
            hits, total = int(correct[code]), int(predicted[code])
            values = {
                "n": row["n"],
                "accuracy": row["accuracy"],
                "precision": hits / total if total else None,
                "f1": 2 * hits / (row["n"] + total) if row["n"] + total else None,
                "errors": row["errors"],
            }
            rows.append((row["name"], values))
        return rows

    def _sentence(self) -> str:
        return (
            f"Accuracy {percent(self.accuracy)} on {self['n']:,} images of {self['dataset']}, 95% "
            f"interval {percent_interval(self.interval)} (Wilson)."
        )

    def __repr__(self) -> str:
        low, high = self.interval
        return (
            f"Evaluation({self['dataset']}, n={self['n']:,}, accuracy={self.accuracy:.4f}, "
            f"interval=[{low:.4f}, {high:.4f}], loss={self.loss:.4f})"
        )

    def _repr_html_(self) -> str:
        """Return tables, curves, confusion matrix and the worst mistakes."""
        from fashioncnn.environment import require_modules

        require_modules("report")
        from fashioncnn.reporting.html import figure_html, table_html
        from fashioncnn.reporting.run_figures import confusion_figure, curves_figure

        parts = [table_html(table) for table in metrics_tables(self)]
        if self.history:
            parts.append(figure_html(curves_figure(self.history), "learning curves"))
        parts.append(figure_html(confusion_figure(self), "confusion matrix"))
        mistakes = self.worst_mistakes(SHOWN_MISTAKES)
        if mistakes:
            cards = "".join(_mistake_html(mistake) for mistake in mistakes)
            parts.append(f"<h4>Most confident mistakes</h4><div>{cards}</div>")
        return f"<div><p><b>{escape(self._sentence())}</b></p>{''.join(parts)}</div>"


def _mistake_html(mistake: Mistake) -> str:
    true, predicted = escape(mistake.true), escape(mistake.predicted)
    return (
        '<div style="display: inline-block; margin: 4px; text-align: center; font-size: 85%">'
        f'<img src="{mistake.image}" alt="{true}" style="width: 64px; image-rendering: pixelated">'
        f"<br>{true}<br>→ {predicted} {mistake.confidence:.0%}</div>"
    )
