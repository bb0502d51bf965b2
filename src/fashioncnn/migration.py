"""Files of version 0.1 (schema 1) as version 0.2 (schema 2) reads them.

Run and model folders are converted when they are read and never rewritten. Recipes of users are not
converted: old keys in them are rejected with the new name (`RENAMED`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fashioncnn.errors import ConfigError, OtherVersionError
from fashioncnn.settings import SCHEMA, SECTIONS

RENAMED = {
    "training.averaging": "training.ema_decay",
    "training.unsure_below": "training.abstain_below",
    "training.teachers": "distillation.ensemble_size",
    "training.teacher_epochs": "distillation.epochs",
    "training.taught_by": "distillation.teachers",
    "training.teacher_share": "distillation.alpha",
    "model.symmetry": "model.flip_equivariant",
    "data.pictures": "data.views",
    "augmentation.outliers": "augmentation.outlier_exposure",
}
"""Dotted keys of version 0.1 and their names since 0.2."""


def migrate_settings(values: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a run's ``config.toml`` in schema 2, without its schema number.

    Args:
        values: of schema 1, which had no number, or of schema 2.

    Raises:
        ConfigError: it is of a later schema.
    """
    migrated = {key: dict(v) if isinstance(v, dict) else v for key, v in values.items()}
    schema = migrated.pop("schema", 1)
    if schema == SCHEMA:
        return migrated
    if schema != 1:
        raise ConfigError(f"schema {schema}: written by a later version of fashioncnn")
    if not all(isinstance(migrated.get(section, {}), dict) for section in SECTIONS):
        return migrated  # damaged, which validation reports
    for old, new in RENAMED.items():
        (section, key), (new_section, new_key) = old.split("."), new.split(".")
        if key in migrated.get(section, {}):
            value = migrated[section].pop(key)
            migrated.setdefault(new_section, {})[new_key] = value
    _migrate_symmetry(migrated.get("model", {}))
    # The first versions had PyTorch's kernels only.
    migrated["runtime"] = {"kernels": "torch", **migrated.get("runtime", {})}
    return migrated


def migrate_model_description(values: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a model folder's ``config.json`` of schema 1 in schema 2."""
    migrated = {**values, "schema": SCHEMA}
    architecture, preprocessing = values.get("architecture"), values.get("preprocessing")
    if not (isinstance(architecture, dict) and isinstance(preprocessing, dict)):
        return migrated  # damaged, which validation reports
    architecture, preprocessing = dict(architecture), dict(preprocessing)
    if "symmetry" in architecture:
        architecture["flip_equivariant"] = architecture.pop("symmetry")
        _migrate_symmetry(architecture)
    if "pictures" in preprocessing:
        preprocessing["views"] = preprocessing.pop("pictures")
    # Version 0.1 averaged photographs, and only these, over horizontal flips.
    migrated["tta"] = "flip" if preprocessing.get("views") == "photo" else "none"
    for old, new in (("unsure_below", "abstain_below"), ("membership", "ood_detector")):
        if old in migrated:
            migrated[new] = migrated.pop(old)
    return {**migrated, "architecture": architecture, "preprocessing": preprocessing}


def migrate_environment(values: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a run's ``environment.json`` of schema 1 in schema 2."""
    new_names = {"began_from": "initialized_from", "taught_by": "teachers"}
    migrated = {new_names.get(key, key): value for key, value in values.items()}
    return {**migrated, "schema": SCHEMA}


def resuming_error(run: Path) -> OtherVersionError:
    """Return the error for a run of version 0.1 that should be resumed."""
    return OtherVersionError(
        f"{run}: run of fashioncnn 0.1, which this version cannot resume; resume it with 0.1, or "
        "start a new run"
    )


def _migrate_symmetry(model: dict[str, Any]) -> None:
    if isinstance(model.get("flip_equivariant"), str):
        model["flip_equivariant"] = model["flip_equivariant"] == "mirror"
