"""The part of scikit-learn's estimator protocol that does not depend on what is estimated.

scikit-learn itself is not needed, except by itself in `Estimator.__sklearn_tags__`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import NDArray

from fashioncnn.api.fitted import Fitted
from fashioncnn.api.parameters import check_names
from fashioncnn.errors import NotFittedError, UsageError

if TYPE_CHECKING:
    from fashioncnn.training.callbacks import Callback

PARAMETERS = ("recipe", "start", "network", "callbacks", "progress")
"""Parameters of the constructor that are no settings."""


class Estimator:
    """Parameters, and access to what training gives; see `fashioncnn.api.classifier.Classifier`."""

    def __init__(
        self,
        recipe: str | Path | None = None,
        *,
        start: str | Path | None = None,
        network: Any = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
        **settings: Any,
    ) -> None:
        # As scikit-learn requires, values are stored unchanged and checked by `fit`.
        self.recipe = recipe
        self.start = start
        self.network = network
        self.callbacks = callbacks
        self.progress = progress
        self.settings = settings
        self._fitted: Fitted | None = None

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002
        """Return the parameters of the constructor that were given or have a default.

        Args:
            deep: accepted for scikit-learn; there are no nested estimators.
        """
        return {**{name: getattr(self, name) for name in PARAMETERS}, **self.settings}

    def set_params(self, **parameters: Any) -> Self:
        """Change parameters of the constructor, used by the next `fit`; return the classifier.

        Raises:
            UsageError: a name is unknown; then nothing is changed.
        """
        settings = {name: value for name, value in parameters.items() if name not in PARAMETERS}
        check_names(settings, PARAMETERS)
        for name in parameters.keys() - settings.keys():
            setattr(self, name, parameters[name])
        self.settings = {**self.settings, **settings}
        return self

    @property
    def classes_(self) -> NDArray[Any]:
        """The labels that `predict` returns, (classes,), in the order of the probabilities."""
        return self._require_fitted("classes_").classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the same order as `classes_`."""
        return self._require_fitted("class_names").model.spec.labels

    @property
    def history(self) -> list[dict[str, Any]]:
        """One record per epoch of the training; empty for a model without its run."""
        return self._require_fitted("history").history

    @property
    def n_features_in_(self) -> int:
        """The number of pixels in a row; only if `fit` was called with rows of pixels."""
        features = self._require_fitted("n_features_in_").features
        if features is None:
            raise AttributeError("n_features_in_: the classifier was not fitted on rows of pixels")
        return features

    def __sklearn_is_fitted__(self) -> bool:
        return self._fitted is not None

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=True, three_d_array=True, string=True),
        )

    def __sklearn_clone__(self) -> Self:
        from sklearn.base import clone

        if self._fitted is not None and self._fitted.loaded:
            raise UsageError(
                "a loaded classifier cannot be cloned: a clone is trained anew, with settings that "
                "a loaded one does not have; use Classifier(…)"
            )
        parameters = self.get_params()
        return type(self)(**{name: clone(value, safe=False) for name, value in parameters.items()})

    def __repr__(self) -> str:
        if self._fitted is None:
            parameters = [] if self.recipe is None else [repr(self.recipe)]
            parameters += [] if self.start is None else [f"start={self.start!r}"]
            if self.network is not None:
                parameters.append(f"network={_short_name(self.network)}")
            parameters += [f"{name}={value!r}" for name, value in self.settings.items()]
            return f"Classifier({', '.join(parameters)})"
        model = self._fitted.model
        architecture = model.spec.architecture
        name = getattr(architecture, "network", architecture.name)
        return (
            f"Classifier({name}, {model.description.parameters:,} parameters, trained on "
            f"{model.spec.dataset})"
        )

    def _require_fitted(self, name: str) -> Fitted:
        if self._fitted is None:
            raise not_fitted(f"Classifier.{name}: the classifier is not trained yet; call fit")
        return self._fitted


def not_fitted(message: str) -> NotFittedError:
    """Return the error, which is scikit-learn's `NotFittedError`, too, if that is imported."""
    exceptions = sys.modules.get("sklearn.exceptions")
    if exceptions is None:
        return NotFittedError(message)
    bases = (NotFittedError, exceptions.NotFittedError)
    members = {"__module__": NotFittedError.__module__, "__reduce__": _reduce_not_fitted}
    error: NotFittedError = type("NotFittedError", bases, members)(message)
    return error


def _reduce_not_fitted(error: NotFittedError) -> tuple[Any, tuple[Any, ...]]:
    """Return how to pickle an error whose class is not in a module."""
    return not_fitted, error.args


def _short_name(network: Any) -> str:
    """Return the name of a class or function, that of an object's type, or a string's `repr`."""
    if isinstance(network, str):
        return repr(network)
    return str(getattr(network, "__name__", type(network).__name__))
