"""Settings that have no effect beside the others: rejected where they are given."""

import pytest
import tomli_w

from fashioncnn.config import resolve
from fashioncnn.errors import ConfigError
from fashioncnn.settings import SECTIONS, Settings
from fashioncnn.settings.effects import without_effect

HELD_OUT = ["data.validation=0.2", "training.calibration_folds=3"]
TAUGHT = ["distillation.teachers=['a']"]
FROZEN = ["training.freeze='features'"]


@pytest.mark.parametrize(
    ("recipe", "assignments", "key", "why"),
    [
        ("baseline", ["training.select_by=accuracy"], "training.select_by", "without select ="),
        ("baseline", ["augmentation.erasing_fill=zero"], "augmentation.erasing_fill", "without au"),
        ("baseline", ["distillation.alpha=0.5"], "distillation.alpha", "without teachers; set"),
        ("baseline", ["distillation.temperature=2.0"], "distillation.temperature", "without teac"),
        ("baseline", ["distillation.epochs=3"], "distillation.epochs", "without teachers; set"),
        ("baseline", [*TAUGHT, "distillation.epochs=3"], "distillation.epochs", "on teachers that"),
        (
            "baseline",
            [*TAUGHT, "distillation.alpha=1.0", "training.label_smoothing=0.1"],
            "training.label_smoothing",
            "with distillation.alpha = 1",
        ),
        ("baseline", ["data.rehearsal_source=x"], "data.rehearsal_source", "without data.rehears"),
        ("baseline", HELD_OUT, "training.calibration_folds", "beside a validation split"),
        ("honest", ["training.calibration_folds=3"], "training.calibration_folds", "beside a vali"),
        (
            "baseline",
            ["training.calibration_folds=3", "training.temperature=1.0"],
            "training.calibration_folds",
            "where neither training.temperature nor training.abstain_below is 'auto'",
        ),
        (
            "finetune",
            [*FROZEN, "optimizer.learning_rate=0.01"],
            "optimizer.learning_rate",
            "with freeze = 'features', since AdamW trains the last layer; set optimizer.adam_learn",
        ),
        ("finetune", [*FROZEN, "optimizer.momentum=0.5"], "optimizer.momentum", "with freeze = 'f"),
        (
            "finetune",
            [*FROZEN, "optimizer.backbone_lr_factor=0.1"],
            "optimizer.backbone_lr_factor",
            "with freeze = 'features', which trains only the last layer",
        ),
    ],
)
def test_settings_without_effect_are_rejected(recipe, assignments, key, why):
    with pytest.raises(ConfigError) as caught:
        resolve(recipe, assignments=assignments, environment={})
    assert str(caught.value).startswith(f"--set {key}: has no effect {why}")


@pytest.mark.parametrize(
    ("recipe", "assignments"),
    [
        ("honest", ["training.select_by=accuracy"]),
        ("baseline", ["training.select_by=accuracy", "training.patience=2", "data.validation=9"]),
        ("accurate", ["augmentation.erasing_fill=zero"]),
        ("baseline", ["distillation.ensemble_size=2", "distillation.epochs=3"]),
        ("baseline", [*TAUGHT, "distillation.alpha=0.5", "training.label_smoothing=0.1"]),
        ("photo", ["data.rehearsal_source=x"]),
        ("baseline", ["training.calibration_folds=3"]),
        ("finetune", ["training.calibration_folds=5"]),  # under 20 images per class
        ("finetune", [*FROZEN, "optimizer.adam_learning_rate=0.01"]),
        ("finetune", ["optimizer.learning_rate=0.01", "optimizer.backbone_lr_factor=0.1"]),
        ("honest", [*FROZEN, "optimizer.learning_rate=0.01"]),  # Adam
        ("baseline", ["distillation.alpha=0.8", "training.select_by=loss"]),  # the defaults
    ],
)
def test_settings_with_an_effect_are_accepted(recipe, assignments):
    resolve(recipe, assignments=assignments, environment={})


def test_muon_may_train_the_last_layer_of_a_network_of_the_user():
    arguments = {"assignments": [*FROZEN, "optimizer.momentum=0.5"], "environment": {}}
    assert resolve("finetune", own_network=True, **arguments).optimizer.momentum == 0.5


def test_messages_name_where_the_setting_was_given(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text("[training]\nselect_by = 'accuracy'\n")
    with pytest.raises(ConfigError, match=r"own\.toml: training\.select_by: has no effect"):
        resolve(config=file, environment={})
    variables = {"FASHIONCNN_TRAINING__SELECT_BY": "accuracy"}
    with pytest.raises(ConfigError, match=r"^FASHIONCNN_TRAINING__SELECT_BY: has no effect"):
        resolve(environment=variables)
    flags = {"learning_rate": 0.1, "freeze": "features"}
    names = {"learning_rate": "--learning-rate", "freeze": "--freeze"}
    with pytest.raises(ConfigError, match=r"^--learning-rate: has no effect with freeze"):
        resolve("finetune", flags=flags, flag_names=names, environment={})
    with pytest.raises(ConfigError, match=r"^training\.select_by: has no effect"):
        resolve(flags={"training.select_by": "accuracy"}, environment={})


def test_all_settings_of_a_run_are_accepted(tmp_path):
    """Its file contains settings of the recipe that another flag makes ineffective."""
    values = resolve("finetune", flags={"data": "x"}, environment={}).model_dump(exclude_none=True)
    file = tmp_path / "config.toml"
    file.write_text(tomli_w.dumps({"schema": 2, **values}))
    resolve("finetune", config=file, flags={"freeze": "features"}, environment={})


@pytest.mark.parametrize("recipe", ["baseline", "finetune", "photo", "honest", "accurate"])
def test_every_key_is_a_setting(recipe):
    settings: Settings = resolve(recipe, assignments=FROZEN, environment={})
    known = {
        f"{s}.{name}" for s, kinds in SECTIONS.items() for k in kinds for name in k.model_fields
    }
    assert without_effect(settings).keys() <= known
