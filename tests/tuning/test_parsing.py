import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.config import recipe_names, resolve
from fashioncnn.errors import ConfigError, UsageError
from fashioncnn.tuning.parsing import default_space, parse_space, read_space, space_names
from fashioncnn.tuning.ranges import Choices, Range
from fashioncnn.tuning.space import check_space, encode_settings


@pytest.mark.parametrize("recipe", [name for name in recipe_names() if name != "photo"])
def test_default_space_of_recipe_is_valid_and_contains_its_values(recipe):
    """Not of ``photo``, which starts from weights; ``tune`` trains from scratch."""
    settings = resolve(recipe, environment={})
    name = default_space(settings)
    space = read_space(name)
    check_space(space, settings, name)
    assert encode_settings(settings, space) is not None


def test_default_space_is_named_by_model_and_optimizer():
    settings = resolve("honest", environment={})
    assert default_space(settings) == "fashion_cnn-adam"


def test_default_space_covers_architecture_optimization_and_regularization():
    space = read_space("fashion_cnn-adam")
    assert space.keys() >= {
        "optimizer.learning_rate",
        "optimizer.weight_decay",
        "schedule.name",
        "model.dropout",
        "model.channels",
        "model.kernel_size",
        "training.label_smoothing",
        "training.batch_size",
        "augmentation.erasing",
    }
    depths = {len(channels) for channels in space["model.channels"].choices}
    assert len(depths) > 1


def test_model_and_optimizer_without_space_is_rejected():
    settings = resolve(
        "honest", assignments=["optimizer.name=sgd", "learning_rate=0.1"], environment={}
    )
    with pytest.raises(
        UsageError, match=r"no default search space for fashion_cnn with sgd: .*--space"
    ):
        default_space(settings)


def test_unknown_space_is_rejected_with_nearest_name():
    with pytest.raises(UsageError, match="did you mean 'regularization'"):
        read_space("regularizations")
    with pytest.raises(UsageError, match=r"space regularisation: renamed to regularization$"):
        read_space("regularisation")
    with pytest.raises(UsageError, match="no such file"):
        read_space("mine.toml")
    assert "regularization" in space_names()


def test_space_file_has_the_syntax_of_a_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'description = "mine"\n'
        "learning_rate = { low = 1e-4, high = 1e-2, log = true }\n"
        "model.hidden = { low = 64, high = 256, step = 64 }\n"
        "[augmentation]\nflip = { choices = [0.0, 0.5] }\n"
    )
    assert read_space(str(path)) == {
        "optimizer.learning_rate": Range(1e-4, 1e-2, log=True),
        "model.hidden": Range(64, 256, step=64),
        "augmentation.flip": Choices((0.0, 0.5)),
    }


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"low": 1.0, "high": 1.0}, "low = 1.0, high = 1.0: low should be less than high"),
        ({"low": 2, "high": 1}, "low should be less than high"),
        ({"low": float("nan"), "high": 1.0}, "low should be less than high"),
        ({"low": 0.0, "high": float("inf")}, "should be finite"),
        ({"low": 0.0, "high": 1.0, "log": True}, "low should be greater than 0 for log = true"),
        ({"low": 0.1, "high": 1.0, "log": True, "step": 0.1}, "give only one of them"),
        ({"low": 1, "high": 10, "step": 4}, "whole number of steps"),
        ({"low": 1, "high": 10, "step": 0}, "whole number of steps"),
        ({"low": "1", "high": 10}, "low = '1': should be a number"),
        ({"low": 1, "high": True}, "high = True: should be a number"),
        ({"low": 1, "high": 2, "log": 1}, "log = 1: should be true or false"),
        ({"high": 10}, "low is missing"),
        ({"low": 1, "hihg": 10}, "hihg: should be one of low, high, log, step; did you mean"),
        ({"choices": [1], "low": 1}, "low: should be one of choices"),
        ({"choices": [3]}, "should be a list of two or more values"),
        ({"choices": 3}, "should be a list of two or more values"),
        ({"choices": [3, 3]}, "contains a value twice"),
        (3, "is 3; write { low"),
    ],
    ids=str,
)
def test_invalid_range_is_rejected(table, message):
    with pytest.raises(ConfigError) as caught:
        parse_space({"model": {"hidden": table}}, "mine.toml")
    assert str(caught.value).startswith("mine.toml: model.hidden: ")
    assert message in str(caught.value)


def test_steps_are_counted_in_decimal():
    assert parse_space({"x": {"y": {"low": 0.0, "high": 0.3, "step": 0.1}}}, "test")


def test_huge_integers_are_accepted():
    assert parse_space({"x": {"y": {"low": 1, "high": 10**400}}}, "test")


def test_all_errors_are_reported_together():
    values = {"model": {"hidden": {"low": 2, "high": 1}, "dropout": {"choices": []}}}
    with pytest.raises(ConfigError, match=r"model\.hidden: .*; model\.dropout: "):
        parse_space(values, "mine.toml")


def test_empty_space_is_rejected():
    with pytest.raises(ConfigError, match="nothing to search"):
        parse_space({}, "mine.toml")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("training.epochs", "use --epochs"),
        ("epochs", "use --epochs"),
        ("data.validation", "not comparable"),
        ("training.seed", "best seed"),
        ("runtime.threads", "depends on the machine"),
        ("distillation.alpha", "without teachers"),
        ("distillation.temperature", "without teachers"),
    ],
)
def test_setting_that_cannot_be_searched_is_rejected_with_reason(key, reason):
    values: dict = {"low": 1, "high": 2}
    for name in reversed(key.split(".")):
        values = {name: values}
    with pytest.raises(ConfigError, match=f"cannot be searched: .*{reason}"):
        parse_space(values, "mine.toml")


def test_setting_given_twice_is_rejected():
    table = {"low": 1e-4, "high": 1e-2}
    values = {"learning_rate": table, "optimizer": {"learning_rate": table}}
    with pytest.raises(ConfigError, match="given twice"):
        parse_space(values, "mine.toml")
