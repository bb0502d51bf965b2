"""Labels as the user gave them, and the class names and codes that a model has."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.data.labels import as_labels

INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")


def distinct_classes(labels: Any) -> tuple[NDArray[Any], NDArray[np.str_]]:
    """Return the classes of a training, and the class name of each label.

    Args:
        labels: (n,) integers, strings or booleans.

    Returns:
        The distinct labels in the order of `numpy.unique`, which scikit-learn requires, and (n,)
        names.

    Raises:
        DataError: they are not such labels, or some are missing.
    """
    names = as_labels(labels).astype(str)
    values = as_labels(labels)
    if set(np.unique(values).tolist()) <= {"False", "True"} and _are_booleans(labels):
        values = values == "True"
    return np.unique(values), names


def classes_of_model(spec: ModelSpec) -> NDArray[Any]:
    """Return what a loaded model predicts, by code.

    These are the class names if it was trained on names, integers if all names are integers, and
    the codes 0, 1 … otherwise.
    """
    names = spec.labels
    if spec.predicts_names:
        return np.array(names)
    if all(INTEGER.fullmatch(name) for name in names):
        return np.array([int(name) for name in names])
    return np.arange(len(names))


def _are_booleans(labels: Any) -> bool:
    first = next(iter(labels), None)
    return isinstance(first, bool | np.bool_)
