import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.config import recipe_names, resolve
from fashioncnn.errors import ConfigError, UsageError
from fashioncnn.tuning.space import (
    Choices,
    Range,
    check_space,
    default_space,
    parse_space,
    point_of,
    read_space,
    short_names,
    space_names,
)


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_has_a_space_that_fits_it_and_holds_its_own_values(recipe):
    settings = resolve(recipe)
    name = default_space(settings)
    space = read_space(name)
    check_space(space, settings, name)
    assert point_of(settings, space) is not None


def test_the_default_space_covers_what_matters():
    assert set(read_space("fashion_cnn-adam")) >= {
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
    depths = {len(c) for c in read_space("fashion_cnn-adam")["model.channels"].choices}
    assert len(depths) > 1


def test_no_space_comes_for_every_kind_of_network():
    settings = resolve("honest", assignments=["optimizer.name=sgd", "learning_rate=0.1"])
    with pytest.raises(
        UsageError, match=r"no search space comes for fashion_cnn with sgd.*--space"
    ):
        default_space(settings)


def test_a_misspelt_space_gets_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'regularisation'"):
        read_space("regularization")
    with pytest.raises(UsageError, match="no such file"):
        read_space("mine.toml")
    assert "regularisation" in space_names()


def test_a_file_is_read_like_a_recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
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
    ("table", "expected"),
    [
        ({"low": 1.0, "high": 1.0}, "empty range"),
        ({"low": 2, "high": 1}, "low = 2, high = 1: an empty range"),
        ({"low": float("nan"), "high": 1.0}, "empty range"),
        ({"low": 0.0, "high": float("inf")}, "finite"),
        ({"low": 0.0, "high": 1.0, "log": True}, "begins above 0"),
        ({"low": 0.1, "high": 1.0, "log": True, "step": 0.1}, "log and step"),
        ({"low": 1, "high": 10, "step": 4}, "whole steps"),
        ({"low": 1, "high": 10, "step": 0}, "whole steps"),
        ({"low": "1", "high": 10}, "low = '1': should be a number"),
        ({"low": 1, "high": True}, "high = True: should be a number"),
        ({"low": 1, "high": 2, "log": 1}, "log = 1: should be true or false"),
        ({"high": 10}, "has no low"),
        ({"low": 1, "hihg": 10}, "did you mean 'high'"),
        ({"choices": [1], "low": 1}, "low: not one of choices"),
        ({"choices": [3]}, "two or more"),
        ({"choices": 3}, "two or more"),
        ({"choices": [3, 3]}, "twice"),
        (3, "write { low"),
    ],
    ids=str,
)
def test_what_is_no_range_is_refused(table, expected):
    with pytest.raises(ConfigError) as caught:
        parse_space({"model": {"hidden": table}}, "mine.toml")
    assert str(caught.value).startswith("mine.toml: model.hidden: ")
    assert expected in str(caught.value)


def test_a_range_without_what_lies_between_is_refused_where_a_setting_takes_it():
    space = parse_space({"augmentation": {"flip": {"low": 0, "high": 1}}}, "mine.toml")
    with pytest.raises(ConfigError, match=r"augmentation\.flip: .* write low = 0\.0, high = 1\.0"):
        check_space(space, resolve("baseline"), "mine.toml")
    whole = parse_space({"augmentation": {"shift": {"low": 0, "high": 1}}}, "mine.toml")
    check_space(whole, resolve("baseline"), "mine.toml")


def test_thirds_and_tenths_are_whole_steps():
    assert parse_space({"x": {"y": {"low": 0.0, "high": 0.3, "step": 0.1}}}, "test")


def test_all_faults_are_told_together():
    values = {"model": {"hidden": {"low": 2, "high": 1}, "dropout": {"choices": []}}}
    with pytest.raises(ConfigError, match=r"model\.hidden: .*; model\.dropout: "):
        parse_space(values, "mine.toml")


def test_an_empty_space_is_refused():
    with pytest.raises(ConfigError, match="nothing to search"):
        parse_space({}, "mine.toml")


@pytest.mark.parametrize(
    "key", ["training.epochs", "epochs", "data.validation", "training.seed", "runtime.threads"]
)
def test_what_decides_the_measure_is_not_searched(key):
    values: dict = {"low": 1, "high": 2}
    for part in reversed(key.split(".")):
        values = {part: values}
    with pytest.raises(ConfigError, match="cannot be searched"):
        parse_space(values, "mine.toml")


def test_a_setting_named_twice_is_refused():
    table = {"low": 1e-4, "high": 1e-2}
    values = {"learning_rate": table, "optimizer": {"learning_rate": table}}
    with pytest.raises(ConfigError, match="twice"):
        parse_space(values, "mine.toml")


@pytest.mark.parametrize(
    ("key", "parameter", "expected"),
    [
        ("model.hiden", Range(1, 2), "model.hiden: no such setting; did you mean 'model.hidden'"),
        ("model.blocks", Choices((1, 2)), "model.blocks: no such setting of this kind of model"),
        ("model.dropout", Range(0.0, 1.0), "model.dropout = 1.0: should be less than 1"),
        ("model.dropout", Range(-0.5, 0.5), "model.dropout = -0.5: "),
        ("model.hidden", Range(16.0, 32.0), "model.hidden = 16.0: "),
        ("model.kernel_size", Choices((3, 13)), "model.kernel_size = 13: "),
        ("model.channels", Choices(([4, 8], [4, 0])), "model.channels.1 = 0: "),
        ("optimizer.name", Choices(("adam", "sdg")), "'sdg'"),
    ],
)
def test_corners_that_are_no_settings_are_refused(key, parameter, expected):
    space = {"optimizer.learning_rate": Range(1e-4, 1e-2), key: parameter}
    with pytest.raises(ConfigError) as caught:
        check_space(space, resolve("honest"), "mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    assert expected in str(caught.value)
    assert str(caught.value).count(expected) == 1


def test_a_corner_that_cannot_be_built_is_refused(plan):
    space = {"model": {"channels": {"choices": [[4, 8], [4, 4, 4, 4, 4]]}}}
    with pytest.raises(ConfigError, match="test: "):
        plan(space=space)


def test_lists_go_through_the_journal_as_text():
    choices = Choices(([4, 8], [8, 16]))
    encoded = [choices.encode(c) for c in choices.choices]
    assert all(isinstance(e, str) for e in encoded)
    assert [choices.decode(e) for e in encoded] == [[4, 8], [8, 16]]
    assert choices.holds((4, 8))
    assert not choices.holds((4, 9))


def test_whole_numbers_are_searched_as_whole_numbers():
    assert type(Range(1, 8, log=True).distribution()).__name__ == "IntDistribution"
    assert type(Range(0, 0.5).distribution()).__name__ == "FloatDistribution"
    assert not Range(1, 8).holds(2.0)
    assert not Range(0.0, 1.0, step=0.1).holds(0.25)
    assert Range(0.0, 1.0, step=0.1).holds(0.3)


def test_names_are_short_where_they_can_be():
    keys = ["model.dropout", "a.scale", "b.scale", "schedule.name"]
    names = short_names(dict.fromkeys(keys, Range(0.0, 0.5)))
    assert list(names.values()) == ["dropout", "a.scale", "b.scale", "schedule.name"]
