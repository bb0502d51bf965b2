"""What has to be as it was when a run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fashioncnn.errors import RunError
from fashioncnn.settings import Settings
from fashioncnn.training.prepare import can_extend

CHANGEABLE = (
    ("data", "source"),
    ("training", "epochs"),
    ("distillation", "teachers"),  # by their content
    ("training", "checkpoint_seconds"),
    ("runtime", "device"),
    ("runtime", "kernels"),
)
"""Settings that a resumed run may have otherwise than before."""


def check_epochs(state: dict[str, Any], settings: Settings, path: Path) -> None:
    """Refuse fewer epochs than it was begun for, and more where the learning rate has come down."""
    epochs = settings.training.epochs
    before = state.get("epochs", epochs)  # older versions did not tell
    if epochs < before or (epochs > before and not can_extend(settings)):
        raise RunError(f"{path}: was begun for {before} epochs, not {epochs}; begin a new run")


def settings_of_checkpoint(state: dict[str, Any]) -> Settings:
    """Return the settings of a checkpoint; one that there was not yet is as without being set."""
    settings = Settings.model_validate(state["settings"], strict=False)
    if settings.data.views != "auto":
        return settings
    views = state["preprocessing"]["views"]
    data = settings.data.model_copy(update={"views": views})
    return settings.model_copy(update={"data": data})


def fixed_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that may not change while a run goes on, as JSON types."""
    values = settings.model_dump(mode="json", exclude={"description"})
    for section, name in CHANGEABLE:
        del values[section][name]
    return values
