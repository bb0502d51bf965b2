"""Settings that have no effect beside the others."""

from __future__ import annotations

from fashioncnn.settings import MuonConfig, Settings
from fashioncnn.settings.data import DataConfig


def has_default_value(settings: Settings, key: str) -> bool:
    """Return whether a setting has its default value; False if it has no default.

    Args:
        settings: of any kind.
        key: dotted.
    """
    section, name = key.split(".")
    values = getattr(settings, section)
    field = type(values).model_fields[name]
    return not field.is_required() and bool(getattr(values, name) == field.get_default())


def without_effect(settings: Settings, *, own_network: bool = False) -> dict[str, str]:
    """Return the settings that have no effect, whatever their value, and why.

    Args:
        settings: not resolved for a dataset yet.
        own_network: whether a network of the user replaces the recipe's. Muon may train its last
            layer.

    Returns:
        By dotted key the end of a message, such as ``without teachers; set distillation.teachers``.
    """
    training, distillation = settings.training, settings.distillation
    unused: dict[str, str] = {}
    teachers = "without teachers; set distillation.ensemble_size or distillation.teachers"
    if distillation.is_off:
        unused |= {"distillation.alpha": teachers, "distillation.temperature": teachers}
    elif distillation.alpha == 1:
        unused["training.label_smoothing"] = (
            "with distillation.alpha = 1, which gives labels no weight; set alpha below 1"
        )
    if not distillation.ensemble_size:
        unused["distillation.epochs"] = (
            teachers
            if distillation.is_off
            else "on teachers that are given; set distillation.ensemble_size to train teachers"
        )
    if not settings.data.rehearsal:
        unused["data.rehearsal_source"] = "without data.rehearsal; set it to a number of images"
    if not settings.augmentation.erasing:
        unused["augmentation.erasing_fill"] = "without augmentation.erasing; set it above 0"
    if training.select != "best_val" and not training.patience:
        unused["training.select_by"] = (
            "without select = 'best_val' or patience; set one of them, or remove it"
        )
    if "auto" not in (training.temperature, training.abstain_below):
        unused["training.calibration_folds"] = (
            "where neither training.temperature nor training.abstain_below is 'auto'"
        )
    elif _always_holds_out(settings.data):
        unused["training.calibration_folds"] = (
            "beside a validation split, which is used instead; set validation to 0"
        )
    if training.freeze == "features":
        unused["optimizer.backbone_lr_factor"] = (
            "with freeze = 'features', which trains only the last layer"
        )
        if isinstance(settings.optimizer, MuonConfig) and not own_network:
            why = (
                "with freeze = 'features', since AdamW trains the last layer; set "
                "optimizer.adam_learning_rate"
            )
            unused |= {"optimizer.learning_rate": why, "optimizer.momentum": why}
    return unused


def _always_holds_out(data: DataConfig) -> bool:
    """Return whether a validation split is held out, however many images there are."""
    return data.fold is not None or (
        data.validation != 0 and (data.validation != "auto" or not data.hold_out_min)
    )
