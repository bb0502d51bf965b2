"""Everything that can go wrong, and the exit code it ends a command with.

FashionCNNError               1   failed
├── UsageError                2   wrong usage: a path that is not there, flags that contradict
│   └── ConfigError           2   a setting that is unknown, or has a value it cannot have
├── DataError                 1   data that is missing, damaged or not what it claims to be
│   └── ImageError          1   one image file that cannot be used
├── ModelError                1   a model folder that is missing, damaged or of another make
├── RunError                  1   a run folder or checkpoint that cannot be used
│   └── OtherVersionError     1   a file of a run that another version of the package wrote
├── DivergedError             1   the loss became NaN or infinite
├── KernelError               1   the compiled kernels cannot be had on this machine
├── OutOfMemoryError          1   the device, or the machine, has too little memory
├── MissingExtraError         1   an optional part is not installed
├── QualityGateError          3   measured, and found worse than what was asked for
├── InterruptedRun          130   Ctrl-C; a checkpoint was saved
└── TerminatedRun           143   SIGTERM; of a training, a checkpoint was saved

A message is one line: what it is about, its value, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FashionCNNError(Exception):
    """Root of every error this package raises on purpose."""

    exit_code = 1


class UsageError(FashionCNNError):
    """The command or call cannot be carried out as it was written."""

    exit_code = 2


class ConfigError(UsageError):
    """One or more settings are unknown or out of range; the message names them all."""


class DataError(FashionCNNError):
    """Data is missing, damaged, or not what it claims to be."""


class ImageError(DataError):
    """One image file cannot be used."""


class ModelError(FashionCNNError):
    """A model folder is missing, damaged, or made for something else."""


class RunError(FashionCNNError):
    """A run folder or one of its checkpoints cannot be used."""


class OtherVersionError(RunError):
    """A file of a run is whole, and of a version of the package that this one cannot read."""


class DivergedError(FashionCNNError):
    """The training loss became NaN or infinite."""


class KernelError(FashionCNNError):
    """The compiled kernels cannot be had on this machine; the message is the reason."""


class OutOfMemoryError(FashionCNNError):
    """There is not enough memory, on the device or the machine."""


class MissingExtraError(FashionCNNError):
    """An optional dependency is not installed."""

    def __init__(self, extra: str, module: str) -> None:
        super().__init__(
            f"this needs {module}, which is not installed: pip install 'fashioncnn[{extra}]'"
        )


class QualityGateError(FashionCNNError):
    """A measurement is below the bound that was asked for."""

    exit_code = 3


class InterruptedRun(FashionCNNError):  # noqa: N818
    """Training was interrupted (Ctrl-C) and can be resumed."""

    exit_code = 130


class TerminatedRun(FashionCNNError):  # noqa: N818
    """Ended by SIGTERM; a training can be resumed."""

    exit_code = 143


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the known name closest to `name`, or ``""``."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{matches[0]}'?" if matches else ""
