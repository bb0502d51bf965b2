"""fashioncnn: train, evaluate and use convolutional image classifiers.

For the command line see ``fashioncnn --help``. Importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fashioncnn._version import __version__
from fashioncnn.errors import (
    ConfigError,
    DataError,
    DivergedError,
    FashionCNNError,
    ImageError,
    InterruptedRun,
    KernelError,
    MissingExtraError,
    ModelError,
    NotFittedError,
    OtherVersionError,
    OutOfMemoryError,
    QualityGateError,
    RankError,
    RunError,
    TerminatedRun,
    UsageError,
    WriteError,
)

if TYPE_CHECKING:
    from fashioncnn.api.classifier import Classifier
    from fashioncnn.api.comparison import Comparison, compare
    from fashioncnn.api.data import load_data
    from fashioncnn.api.evaluation import Evaluation
    from fashioncnn.api.plots import explain, plot_confusion_matrix, plot_history, plot_mistakes
    from fashioncnn.data.dataset import Dataset
    from fashioncnn.inference.predictor import Prediction

__all__ = [
    "Classifier",
    "Comparison",
    "ConfigError",
    "DataError",
    "Dataset",
    "DivergedError",
    "Evaluation",
    "FashionCNNError",
    "ImageError",
    "InterruptedRun",
    "KernelError",
    "MissingExtraError",
    "ModelError",
    "NotFittedError",
    "OtherVersionError",
    "OutOfMemoryError",
    "Prediction",
    "QualityGateError",
    "RankError",
    "RunError",
    "TerminatedRun",
    "UsageError",
    "WriteError",
    "__version__",
    "compare",
    "explain",
    "load_data",
    "plot_confusion_matrix",
    "plot_history",
    "plot_mistakes",
]

_MODULES = {
    "Classifier": (None, "api.classifier"),
    "Comparison": ("report", "api.comparison"),
    "Dataset": (None, "data.dataset"),
    "Evaluation": (None, "api.evaluation"),
    "Prediction": (None, "inference.predictor"),
    "compare": ("report", "api.comparison"),
    "explain": (None, "api.plots"),
    "load_data": (None, "api.data"),
    "plot_confusion_matrix": ("report", "api.plots"),
    "plot_history": ("report", "api.plots"),
    "plot_mistakes": ("report", "api.plots"),
}
"""What each name needs beyond the base install, and where it is defined."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'fashioncnn' has no attribute '{name}'")
    needs, module = _MODULES[name]
    if needs is not None:
        from fashioncnn.environment import require_modules

        require_modules(needs)
    from fashioncnn.openmp import configure_openmp

    configure_openmp()  # torch may be imported later
    return getattr(import_module(f"fashioncnn.{module}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
