"""Resuming a run: whether it can be extended, what is missing, and its settings on this machine."""

from __future__ import annotations

from pathlib import Path

from fashioncnn.config import override
from fashioncnn.data.dataset import Dataset
from fashioncnn.errors import OtherVersionError, RunError, UsageError
from fashioncnn.runs import RunFolder, read_json
from fashioncnn.settings import Settings
from fashioncnn.training.prepare import can_extend, prepare_settings


def check_extension(settings: Settings, epochs: int, path: Path) -> None:
    """Reject a number of epochs that a run cannot be extended to.

    Args:
        settings: of the run.
        epochs: another number than that of the settings.
        path: of the run, for the message.

    Raises:
        UsageError: it is smaller, or the learning rate schedule depends on the number of epochs.
    """
    before = settings.training.epochs
    if epochs < before:
        raise UsageError(
            f"--epochs {epochs}: {path} was started with {before} epochs; it can only be extended"
        )
    if not can_extend(settings):
        raise UsageError(
            f"--epochs {epochs}: the learning rate of {path} has decayed to 0 at epoch {before}; "
            f"start a new run from its weights with --from {path}"
        )


def is_complete(run: RunFolder) -> bool:
    """Return whether a finished run has its metrics and its model.

    Raises:
        OtherVersionError: the metrics have a schema of another version; they are left alone.
    """
    try:
        read_json(run.metrics, "validation", "test", "summary")
    except OtherVersionError:
        raise
    except RunError:
        return False
    return all((run.model / name).is_file() for name in ("config.json", "model.safetensors"))


def prepare_resumed(settings: Settings, dataset: Dataset) -> Settings:
    """Return the settings of a resumed run for this machine, which may have no native kernels.

    Raises:
        UsageError: the device is not available, or the data does not match the settings.
    """
    if settings.runtime.kernels == "native":
        settings = override(settings, {"runtime.kernels": "auto"})
    return prepare_settings(settings, dataset)
