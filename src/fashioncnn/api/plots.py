"""Figures of trainings and evaluations, and explanations of predictions.

Each plot function returns a `matplotlib.figure.Figure` that a notebook shows; pyplot and its
backend are not used. Matplotlib is imported inside these functions, so that `explain` needs no
extra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashioncnn.api.arguments import as_count
from fashioncnn.api.classifier import Classifier
from fashioncnn.api.evaluation import Evaluation
from fashioncnn.api.messages import python_messages
from fashioncnn.errors import UsageError
from fashioncnn.reporting.mistakes import Mistake
from fashioncnn.runs import open_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    History = Sequence[dict[str, Any]]


@python_messages()
def plot_history(source: Classifier | Evaluation | History | str | Path) -> Figure:
    """Return accuracy and loss by epoch.

    Args:
        source: a classifier, an evaluation, the folder of a run, or a history.

    Raises:
        UsageError: it has no history, or is of another type.
    """
    if isinstance(source, str | Path):
        history: Any = open_run(Path(source)).read_history()
    elif isinstance(source, Classifier | Evaluation):
        history = source.history
    else:
        history = source
    is_history = isinstance(history, Sequence) and all(
        isinstance(record, Mapping) and "train_loss" in record for record in history
    )
    if not is_history:
        raise UsageError(
            f"plot_history: {type(source).__name__}: should be a classifier, an evaluation, a run "
            "folder, or a history"
        )
    if not history:
        raise UsageError("plot_history: no epoch; a model folder has no history, its run has")
    from fashioncnn.reporting.run_figures import curves_figure

    return curves_figure(list(history))


def plot_confusion_matrix(evaluation: Mapping[str, Any]) -> Figure:
    """Return the confusion matrix: color by fraction of the true class, and counts.

    Args:
        evaluation: of `Classifier.evaluate`.

    Raises:
        UsageError: it is of another type.
    """
    if not isinstance(evaluation, Mapping) or "confusion" not in evaluation:
        raise UsageError(
            f"plot_confusion_matrix: {type(evaluation).__name__}: should be an evaluation of "
            "Classifier.evaluate"
        )
    from fashioncnn.reporting.run_figures import confusion_figure

    return confusion_figure(dict(evaluation))


def plot_mistakes(evaluation: Evaluation, count: int = 24) -> Figure:
    """Return the images of the most confident mistakes.

    Args:
        evaluation: of `Classifier.evaluate`.
        count: the most to show.

    Raises:
        UsageError: `evaluation` is of another type, or `count` is not positive.
    """
    if not isinstance(evaluation, Evaluation):
        raise UsageError(
            f"plot_mistakes: {type(evaluation).__name__}: should be an evaluation of "
            "Classifier.evaluate"
        )
    shown = as_count("plot_mistakes: count", count, 1)
    mistakes: list[Mistake] = evaluation.worst_mistakes(shown)
    from fashioncnn.reporting.run_figures import mistakes_figure

    return mistakes_figure(mistakes, [evaluation.images[m.index] for m in mistakes])


def explain(classifier: Classifier, image: Any, label: Any = None) -> Image:
    """Return the model input of one image beside its class activation map (Grad-CAM).

    Args:
        classifier: trained.
        image: one image, see `Classifier.predict_proba`.
        label: the class to explain, one of `Classifier.classes_` or a class name; by default the
            predicted one.

    Raises:
        UsageError: there is not exactly one image, or an argument is of another type.
        DataError: `label` is not a class.
    """
    if not isinstance(classifier, Classifier):
        raise UsageError(f"explain: {type(classifier).__name__}: should be a Classifier")
    return classifier.explain(image, label)
