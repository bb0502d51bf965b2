"""Adding epochs to a run, which not every learning rate schedule allows."""

from __future__ import annotations

from pathlib import Path

from fashioncnn.errors import UsageError
from fashioncnn.settings import ConstantSchedule, Settings


def can_extend(settings: Settings) -> bool:
    """Return whether epochs can be added: only if the schedule does not depend on their number."""
    return isinstance(settings.schedule, ConstantSchedule)


def check_extension(settings: Settings, epochs: int, path: Path) -> None:
    """Reject a number of epochs that a run cannot be extended to.

    Args:
        settings: of the run.
        epochs: another number than that of the settings.
        path: of the run.

    Raises:
        UsageError: it is smaller, or the learning rate schedule depends on the number of epochs.
    """
    before = int(settings.training.epochs)
    if epochs < before:
        raise UsageError(
            f"--epochs {epochs}: {path} was started with {before} epochs; it can only be extended"
        )
    if not can_extend(settings):
        raise UsageError(
            f"--epochs {epochs}: the learning rate of {path} has decayed to 0 at epoch {before}; "
            f"start a new run from its weights with --from {path}"
        )
