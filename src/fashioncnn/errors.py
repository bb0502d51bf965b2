"""All errors that this package raises on purpose, and the exit codes of the command line.

FashionCNNError               1   base class
├── UsageError                2   invalid call: a missing path, contradicting flags
│   ├── ConfigError           2   unknown settings or invalid values
│   └── NotFittedError        2   a classifier that was not trained yet
├── DataError                 1   missing, damaged or unsuitable data
│   └── ImageError            1   an image file that cannot be used
├── ModelError                1   a missing, damaged or incompatible model folder
├── RankError                 1   another process of a training on several devices has ended
├── RunError                  1   a run folder or checkpoint that cannot be used
│   └── OtherVersionError     1   a file of a run with a schema that this version cannot read
├── DivergedError             1   the loss became NaN or infinite
├── WriteError                1   a file cannot be written
├── KernelError               1   the compiled kernels are not available on this machine
├── OutOfMemoryError          1   not enough memory on the device or the machine
├── MissingExtraError         1   an optional dependency is not installed
├── QualityGateError          3   a metric is below the required minimum
├── InterruptedRun          130   SIGINT (Ctrl-C); progress was saved
└── TerminatedRun           143   SIGTERM; progress of a training was saved

A message is one line: the subject, its value, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class FashionCNNError(Exception):
    """Base class of all errors of this package."""

    exit_code = 1


class UsageError(FashionCNNError):
    """A command or call cannot be carried out as given."""

    exit_code = 2


class ConfigError(UsageError):
    """Settings are unknown or invalid; the message lists all of them."""


class NotFittedError(UsageError, ValueError, AttributeError):
    """A classifier was not trained yet; a `ValueError`, as in scikit-learn.

    It is also an `AttributeError`, so that ``hasattr(classifier, "classes_")`` is False.
    """


class DataError(FashionCNNError):
    """Data is missing, damaged or unsuitable."""


class ImageError(DataError):
    """An image file cannot be used."""


class ModelError(FashionCNNError):
    """A model folder is missing, damaged or incompatible."""


class RankError(FashionCNNError):
    """Another process of a training on several devices has ended, or cannot be reached."""


class RunError(FashionCNNError):
    """A run folder or one of its checkpoints cannot be used."""


class OtherVersionError(RunError):
    """A file of a run is intact, but has a schema that this version cannot read."""


class DivergedError(FashionCNNError):
    """The training loss became NaN or infinite."""


class WriteError(FashionCNNError):
    """A file cannot be written.

    Args:
        path: of the file, never that of a temporary one.
        reason: such as ``No space left on device``.
        remedy: what to do, such as ``free some space``.
    """

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(f"{path}: cannot be written ({reason}); {remedy}")
        self.path, self.reason, self.remedy = path, reason, remedy


class KernelError(FashionCNNError):
    """The compiled kernels are not available on this machine; the message is the reason."""


class OutOfMemoryError(FashionCNNError):
    """There is not enough memory on the device or the machine."""


class MissingExtraError(FashionCNNError):
    """An optional dependency is not installed.

    Args:
        extra: of this package that installs the module, such as ``train``; None if there is none.
        module: that is missing.
    """

    def __init__(self, extra: str | None, module: str) -> None:
        # This package is in no index: its own name there would be someone else's package.
        command = (
            f"run: pip install {module}"
            if extra is None
            else f"in a checkout of fashioncnn, run: pip install '.[{extra}]'"
        )
        super().__init__(f"{module} is not installed; {command}")


class QualityGateError(FashionCNNError):
    """A metric is below the required minimum."""

    exit_code = 3


class InterruptedRun(FashionCNNError):  # noqa: N818
    """Interrupted by SIGINT (Ctrl-C); progress was saved."""

    exit_code = 130


class TerminatedRun(FashionCNNError):  # noqa: N818
    """Terminated by SIGTERM; progress of a training was saved."""

    exit_code = 143


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known name closest to `name`, or ``""``."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{matches[0]}'?" if matches else ""
