"""fashioncnn: train, evaluate and use convolutional image classifiers.

The Python API is the class `Classifier`; for the command line see ``fashioncnn --help``. Importing
this package does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fashioncnn._version import __version__
from fashioncnn.errors import FashionCNNError

if TYPE_CHECKING:
    from fashioncnn.classifier import Classifier

__all__ = ["Classifier", "FashionCNNError", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Classifier":
        from fashioncnn.environment import require_modules

        require_modules("train")
        from fashioncnn.classifier import Classifier

        return Classifier
    raise AttributeError(f"module 'fashioncnn' has no attribute '{name}'")
