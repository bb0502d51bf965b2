import tomllib

import pytest

from fashioncnn.config import explicit_keys, read_settings, recipe_names, resolve
from fashioncnn.errors import ConfigError, UsageError


def make(**arguments):
    return resolve(environment=arguments.pop("environment", {}), **arguments)


def test_baseline_has_the_described_hyperparameters():
    settings = make()
    assert settings.training.epochs == 20
    assert settings.training.batch_size == 128
    assert settings.optimizer.name == "adam"
    assert settings.optimizer.learning_rate == 1e-3
    assert settings.schedule.name == "constant"
    assert settings.model.channels == (32, 64)
    assert settings.model.dropout == 0.5
    assert settings.training.track_test is True
    assert settings.data.validation == 0


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_resolves(name):
    assert make(recipe=name).recipe == name


def test_flag_goes_before_environment_before_file_before_recipe(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[training]\nepochs = 3\nbatch_size = 3\nseed = 3\n")
    settings = make(
        config=file,
        environment={"FASHIONCNN_EPOCHS": "4", "FASHIONCNN_BATCH_SIZE": "4"},
        flags={"epochs": 5},
    )
    assert (settings.training.epochs, settings.training.batch_size, settings.training.seed) == (
        5,
        4,
        3,
    )
    assert settings.optimizer.learning_rate == 1e-3  # the recipe's


def test_assignments_reach_every_setting_and_go_first():
    settings = make(
        flags={"epochs": 5},
        assignments=["model.hidden=300", "epochs=6", "optimizer.betas=[0.8, 0.9]"],
    )
    assert settings.model.hidden == 300
    assert settings.training.epochs == 6
    assert settings.optimizer.betas == (0.8, 0.9)


def test_environment_reaches_dotted_settings():
    settings = make(environment={"FASHIONCNN_MODEL__HIDDEN": "64", "FASHIONCNN_DATA": "7"})
    assert settings.model.hidden == 64
    assert settings.data.source == "7"  # a folder may have any name


def test_another_optimiser_replaces_the_section():
    settings = make(assignments=["optimizer.name=sgd", "optimizer.learning_rate=0.1"])
    assert settings.optimizer.model_dump() == {
        "name": "sgd",
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "momentum": 0.9,
    }


def test_all_faults_are_told_together():
    with pytest.raises(ConfigError) as caught:
        make(assignments=["training.epochs=0", "model.hiden=3", "optimizer.momentum=0.9"])
    message = str(caught.value)
    assert "training.epochs = 0" in message
    assert "model.hiden: no such setting; did you mean 'model.hidden'?" in message
    assert "optimizer.momentum: no such setting" in message
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
    ],
)
def test_wrong_values_are_refused_by_name(assignment, key):
    with pytest.raises(ConfigError, match=rf"^{key}\b"):
        make(assignments=[assignment])


def test_alternatives_are_told_together():
    with pytest.raises(ConfigError) as caught:
        make(assignments=["data.validation=-3"])
    message = "data.validation = -3: should be greater than or equal to 0, or should be 'auto'"
    assert str(caught.value) == message


def test_misspelt_environment_variable_is_refused():
    with pytest.raises(ConfigError, match=r"FASHIONCNN_EPOCHZ.*did you mean 'FASHIONCNN_EPOCHS'"):
        make(environment={"FASHIONCNN_EPOCHZ": "3"})
    with pytest.raises(ConfigError, match="did you mean 'FASHIONCNN_MODEL__HIDDEN'"):
        make(environment={"FASHIONCNN_MODEL_HIDDEN": "3"})


def test_home_is_no_setting():
    assert make(environment={"FASHIONCNN_HOME": "/x"}) == make()


def test_unknown_recipe_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'baseline'"):
        make(recipe="basline")


def test_broken_toml_is_one_line_that_names_the_file(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[training\n")
    with pytest.raises(ConfigError, match=r"mine\.toml: not readable as TOML"):
        make(config=file)


def test_choosing_by_validation_needs_a_validation_part():
    with pytest.raises(ConfigError, match="needs a validation part"):
        make(assignments=["training.select=best_val"])


def test_wrong_variables_are_told_by_their_names():
    with pytest.raises(ConfigError, match=r"^FASHIONCNN_EPOCHS = 0: should be"):
        make(environment={"FASHIONCNN_EPOCHS": "0"})
    assert make(environment={"FASHIONCNN_TRACK_TEST": "False"}).training.track_test is False
    # A flag goes first, and then the variable does not matter.
    assert make(environment={"FASHIONCNN_EPOCHS": "0"}, flags={"epochs": 2}).training.epochs == 2
    with pytest.raises(ConfigError, match=r"^training\.epochs = 0"):
        make(environment={"FASHIONCNN_EPOCHS": "5"}, assignments=["training.epochs=0"])


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 20_000, "x = " + "9" * 5000, "\x00"], ids=["deep", "long", "binary"]
)
def test_hostile_toml_is_refused(tmp_path, text):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(ConfigError, match="not readable as TOML"):
        make(config=tmp_path / "mine.toml")


def test_a_section_is_no_value():
    with pytest.raises(ConfigError, match="set to a value before"):
        make(assignments=["training=5", "training.epochs=2"])


def test_unknown_kinds_are_told_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"optimizer\.name = 'foo': should be one of 'adam'"):
        make(assignments=["optimizer.name=foo"])


def test_a_recipe_without_an_optimiser(tmp_path):
    (tmp_path / "mine.toml").write_text("[training]\nepochs = 1\n")
    with pytest.raises(ConfigError, match=r"^optimizer: not set$"):
        make(recipe=str(tmp_path / "mine.toml"))


def test_saved_settings_are_read_back_the_same(tmp_path):
    settings = make(recipe="honest", assignments=["schedule.name=cosine", "schedule.warmup=0.1"])
    path = tmp_path / "config.toml"
    path.write_text(settings.to_toml())
    assert read_settings(path) == settings
    assert tomllib.loads(path.read_text())["schedule"] == {"name": "cosine", "warmup": 0.1}


def test_saved_settings_that_are_damaged_are_told(tmp_path):
    text = make().to_toml()
    path = tmp_path / "config.toml"
    path.write_text("runtime = 5\n" + text.replace("[runtime]", "[other]"))
    with pytest.raises(ConfigError, match="runtime"):
        read_settings(path)


def test_who_told_a_setting(tmp_path):
    path = tmp_path / "some.toml"
    path.write_text("[model]\nhidden = 5\n[data]\nscaling = 'unit'\n")
    told = explicit_keys(path, ["data.scaling=unit", "epochs=3"], {"FASHIONCNN_SEED": "1"})
    assert told == {
        "training.seed": "FASHIONCNN_SEED",
        "model.hidden": f"{path}: model.hidden",
        "data.scaling": "--set data.scaling",
        "training.epochs": "--set training.epochs",
    }
