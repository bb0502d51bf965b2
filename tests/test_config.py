"""Settings from recipes, files, environment variables, flags and assignments."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from fashioncnn.config import (
    assignment_keys,
    explicit_keys,
    kernels_from_environment,
    override,
    read_settings,
    recipe_names,
    resolve,
)
from fashioncnn.data.dataset import Dataset
from fashioncnn.errors import ConfigError, UsageError


def make(**arguments):
    return resolve(environment=arguments.pop("environment", {}), **arguments)


def test_baseline_has_the_published_hyperparameters():
    settings = make()
    assert (settings.training.epochs, settings.training.batch_size) == (20, 128)
    assert (settings.optimizer.name, settings.optimizer.learning_rate) == ("adam", 1e-3)
    assert settings.schedule.name == "constant"
    assert (settings.model.channels, settings.model.dropout) == ((32, 64), 0.5)
    assert settings.training.track_test is True
    assert settings.data.validation == 0


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid(name):
    assert make(recipe=name).recipe == name


def test_flags_precede_environment_file_and_recipe(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[training]\nepochs = 3\nbatch_size = 3\nseed = 3\n")
    settings = make(
        config=file,
        environment={"FASHIONCNN_EPOCHS": "4", "FASHIONCNN_BATCH_SIZE": "4"},
        flags={"epochs": 5},
    )
    training = settings.training
    assert (training.epochs, training.batch_size, training.seed) == (5, 4, 3)
    assert settings.optimizer.learning_rate == 1e-3


def test_assignments_set_any_setting_and_precede_flags():
    settings = make(
        flags={"epochs": 5},
        assignments=["model.hidden=300", "epochs=6", "optimizer.betas=[0.8, 0.9]"],
    )
    assert settings.model.hidden == 300
    assert settings.training.epochs == 6
    assert settings.optimizer.betas == (0.8, 0.9)


def test_environment_variables_set_any_setting():
    variables = {
        "FASHIONCNN_MODEL__HIDDEN": "64",
        "FASHIONCNN_TRACK_TEST": "False",
        "FASHIONCNN_DATA": "7",  # the name of a folder, not a number
        "FASHIONCNN_SEED": "",  # an empty variable is not set
    }
    settings = make(environment=variables)
    assert settings.model.hidden == 64
    assert settings.training.track_test is False
    assert settings.data.source == "7"
    assert settings.training.seed == 0


def test_another_optimizer_replaces_the_section():
    settings = make(assignments=["optimizer.name=sgd", "optimizer.learning_rate=0.1"])
    assert settings.optimizer.model_dump() == {
        "name": "sgd",
        "learning_rate": 0.1,
        "backbone_lr_factor": 1.0,
        "weight_decay": 0.0,
        "momentum": 0.9,
    }


def test_all_errors_are_reported_together():
    with pytest.raises(ConfigError) as caught:
        make(assignments=["training.epochs=0", "model.hiden=3", "optimizer.momentum=0.9"])
    message = str(caught.value)
    assert "training.epochs = 0: should be greater than or equal to 1" in message
    assert "model.hiden: no such setting; did you mean 'model.hidden'?" in message
    assert "optimizer.momentum: no setting of this optimizer.name" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("assignment", "key"),
    [
        ("training.epochs=true", "training.epochs"),
        ("training.epochs=2.5", "training.epochs"),
        ("training.epochs=many", "training.epochs"),
        ("optimizer.learning_rate=-1", "optimizer.learning_rate"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate"),
        ("optimizer.learning_rate=inf", "optimizer.learning_rate"),
        ("optimizer.name=adamm", "optimizer"),
        ("data.validation=some", "data.validation"),
        ("runtime.device=gpu", "runtime.device"),
        ("model.dropout=1.0", "model.dropout"),
        ("distillation.teachers=''", "distillation.teachers"),
    ],
)
def test_invalid_value_is_rejected_with_its_key(assignment, key):
    with pytest.raises(ConfigError, match=rf"^{key}\b"):
        make(assignments=[assignment])


def test_alternatives_are_joined():
    with pytest.raises(ConfigError) as caught:
        make(assignments=["data.validation=-3"])
    message = (
        "data.validation = -3: should be greater than or equal to 0, or should be greater than 0, "
        "or should be 'auto'"
    )
    assert str(caught.value) == message


def test_single_teacher_needs_no_list():
    settings = make(assignments=["distillation.teachers=accurate"])
    assert settings.distillation.teachers == ("accurate",)


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("FASHIONCNN_EPOCHZ", "FASHIONCNN_EPOCHS"),
        ("FASHIONCNN_MODEL_HIDDEN", "FASHIONCNN_MODEL__HIDDEN"),
    ],
)
def test_unknown_variable_is_rejected_with_the_nearest(variable, nearest):
    with pytest.raises(ConfigError, match=rf"{variable}.*did you mean '{nearest}'"):
        make(environment={variable: "3"})


def test_home_is_not_a_setting():
    assert make(environment={"FASHIONCNN_HOME": "/x"}) == make()


def test_invalid_variable_is_rejected_by_its_name():
    with pytest.raises(ConfigError, match=r"^FASHIONCNN_EPOCHS = 0: should be"):
        make(environment={"FASHIONCNN_EPOCHS": "0"})
    assert make(environment={"FASHIONCNN_EPOCHS": "0"}, flags={"epochs": 2}).training.epochs == 2
    with pytest.raises(ConfigError, match=r"^training\.epochs = 0"):
        make(environment={"FASHIONCNN_EPOCHS": "5"}, assignments=["training.epochs=0"])


def test_unknown_recipe_is_rejected_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'baseline'"):
        make(recipe="basline")


@pytest.mark.parametrize(
    "text",
    ["[training\n", "x = " + "[" * 20_000, "x = " + "9" * 5000, "\x00"],
    ids=["syntax", "deep", "long", "binary"],
)
def test_invalid_toml_is_rejected_in_one_line(tmp_path, text):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.toml: not readable as TOML") as caught:
        make(config=tmp_path / "mine.toml")
    assert "\n" not in str(caught.value)


def test_missing_file_is_rejected():
    for arguments in ({"config": Path("nowhere.toml")}, {"recipe": "nowhere.toml"}):
        with pytest.raises(UsageError, match=r"nowhere\.toml: no such file"):
            make(**arguments)


def test_best_validation_epoch_needs_a_validation_split():
    with pytest.raises(ConfigError, match="needs a validation split"):
        make(assignments=["training.select=best_val"])


def test_value_in_place_of_a_section_is_rejected(tmp_path):
    with pytest.raises(ConfigError, match="'training' is not a section"):
        make(assignments=["training=5", "training.epochs=2"])
    (tmp_path / "mine.toml").write_text("training = 5\n")
    with pytest.raises(ConfigError, match="training = 5: should be a section"):
        make(config=tmp_path / "mine.toml", flags={"epochs": 2})
    with pytest.raises(ConfigError, match="training = 5"):
        make(config=tmp_path / "mine.toml")


@pytest.mark.parametrize("text", ["epochs", "=3", " = 3"])
def test_assignment_without_key_or_value_is_rejected(text):
    with pytest.raises(ConfigError, match="should be key=value"):
        make(assignments=[text])


def test_unknown_kind_is_rejected_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"optimizer\.name = 'foo': should be one of 'adam'"):
        make(assignments=["optimizer.name=foo"])


def test_recipe_without_an_optimizer_is_rejected(tmp_path):
    (tmp_path / "mine.toml").write_text("[training]\nepochs = 1\n")
    with pytest.raises(ConfigError, match=r"^optimizer: not set$"):
        make(recipe=str(tmp_path / "mine.toml"))


def test_saved_settings_are_read_back(tmp_path):
    settings = make(recipe="honest", assignments=["schedule.name=cosine", "schedule.warmup=0.1"])
    path = tmp_path / "config.toml"
    path.write_text(settings.to_toml())
    assert read_settings(path) == settings
    values = tomllib.loads(path.read_text())
    assert values["schema"] == 2
    assert values["schedule"] == {"name": "cosine", "warmup": 0.1}


def test_settings_of_a_run_can_be_a_recipe_or_a_file(tmp_path):
    settings = make(assignments=["training.epochs=7", "model.hidden=99"])
    path = tmp_path / "config.toml"
    path.write_text(settings.to_toml())
    assert make(recipe=str(path)) == settings
    assert make(recipe="honest", config=path).model.hidden == 99
    path.write_text(path.read_text().replace("schema = 2", "schema = 3"))
    for arguments in ({"recipe": str(path)}, {"config": path}):
        with pytest.raises(ConfigError, match="schema 3: written by another version"):
            make(**arguments)


def test_damaged_settings_of_a_run_are_rejected(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("runtime = 5\n" + make().to_toml().replace("[runtime]", "[other]"))
    with pytest.raises(ConfigError, match=r"config\.toml: .*runtime = 5"):
        read_settings(path)


def test_override_replaces_values_by_dotted_key_or_flag():
    settings = override(make(), {"model.hidden": 5, "epochs": 2})
    assert (settings.model.hidden, settings.training.epochs) == (5, 2)
    with pytest.raises(ConfigError, match=r"model\.hidden = 0"):
        override(make(), {"model.hidden": 0})


def test_explicit_keys_have_their_origin(tmp_path):
    path = tmp_path / "some.toml"
    path.write_text("[model]\nhidden = 5\n[data]\nscaling = 'unit'\n")
    keys = explicit_keys(path, ["data.scaling=unit", "epochs=3"], {"FASHIONCNN_SEED": "1"})
    assert keys == {
        "training.seed": "FASHIONCNN_SEED",
        "model.hidden": f"{path}: model.hidden",
        "data.scaling": "--set data.scaling",
        "training.epochs": "--set training.epochs",
    }
    assert assignment_keys(["epochs=3", "model.hidden=5"]) == {"training.epochs", "model.hidden"}


def test_kernels_can_be_set_by_the_environment(monkeypatch):
    assert kernels_from_environment() == "auto"
    monkeypatch.setenv("FASHIONCNN_KERNELS", "torch")
    assert kernels_from_environment() == "torch"
    monkeypatch.setenv("FASHIONCNN_KERNELS", "fast")
    with pytest.raises(ConfigError, match="FASHIONCNN_KERNELS = fast: should be one of auto"):
        kernels_from_environment()


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        ({"fold": "1/5", "validation": 10}, {}),
        ({"fold": "1/5"}, {"FASHIONCNN_VALIDATION": "auto"}),
        ({"validation": 10}, {"FASHIONCNN_FOLD": "2/5"}),
    ],
)
def test_size_of_the_validation_split_beside_a_fold_is_rejected(flags, environment):
    with pytest.raises(ConfigError, match=r"VALIDATION|validation: the fold ./5 is the validation"):
        resolve(flags=flags, environment=environment)


def test_fold_replaces_the_validation_split_of_a_recipe(tmp_path):
    assert resolve("baseline", flags={"fold": "2/5"}, environment={}).data.fold == "2/5"
    file = tmp_path / "mine.toml"
    file.write_text("[data]\nvalidation = 5\n")
    with pytest.raises(ConfigError, match=r"mine\.toml: data\.validation: the fold 1/5"):
        resolve(config=file, flags={"fold": "1/5"}, environment={})


def test_resolved_settings_of_a_run_with_a_fold_can_be_used_again(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('schema = 2\n[data]\nvalidation = 60\nfold = "1/5"\nsource = "x"\n')
    assert resolve(config=file, environment={}).data.fold == "1/5"


@pytest.mark.parametrize("fold", ["0/5", "6/5", "1/1", "1", "a/b", "1/1000", "-1/5", "1 / 5", ""])
def test_fold_that_does_not_exist_is_rejected(fold):
    with pytest.raises(ConfigError, match="number of a fold and how many there are, as in 1/5"):
        resolve(assignments=[f"data.fold='{fold}'"], environment={})


@pytest.mark.parametrize("channels", [True, 1.0, 3.0, "1"])
def test_channels_are_an_integer(channels):
    with pytest.raises(ConfigError, match=r"data\.channels = .*: should be 1 or 3"):
        resolve(flags={"data.channels": channels}, environment={})
    with pytest.raises(UsageError, match=r"channels = .*: should be 1 or 3"):
        Dataset.from_arrays(np.zeros((2, 9, 9), np.uint8), [0, 1], channels=channels)
