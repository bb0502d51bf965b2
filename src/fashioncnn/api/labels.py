"""Labels as the user gave them, and the class names and codes that a model has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.data.labels import are_booleans, as_labels, check_number_of_classes

INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")


def sorted_class_names(labels: Any) -> list[str]:
    """Return the distinct labels as class names, in the order of `numpy.unique`.

    scikit-learn's metrics expect the columns of probabilities in that order, in which the name "10"
    precedes "2".

    Args:
        labels: (n,) integers, strings or booleans.

    Raises:
        DataError: they are not such labels, some are missing, or there are too few or too many
            classes.
    """
    names = [str(label) for label in np.unique(as_labels(labels))]
    check_number_of_classes(len(names), "labels")
    return names


def classes_as_given(labels: Any, class_names: Sequence[str]) -> NDArray[Any]:
    """Return the labels that class names come from: integers, strings or booleans, by code."""
    if as_labels(labels).dtype.kind != "U":
        return np.array([int(name) for name in class_names])
    if are_booleans(labels):
        return np.array([name == "True" for name in class_names])
    return np.array(class_names)


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
