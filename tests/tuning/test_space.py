import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.config import resolve
from fashioncnn.errors import ConfigError
from fashioncnn.tuning.parsing import parse_space
from fashioncnn.tuning.ranges import Choices, Range
from fashioncnn.tuning.space import check_space, encode_settings, short_names


@pytest.fixture(scope="module")
def honest():
    return resolve("honest", environment={})


@pytest.mark.parametrize(
    ("key", "parameter", "message"),
    [
        ("model.hiden", Range(1, 2), "did you mean 'model.hidden'"),
        ("model.blocks", Choices((1, 2)), "model.blocks: "),
        ("model.dropout", Range(0.0, 1.0), "model.dropout = 1.0: "),
        ("model.dropout", Range(-0.5, 0.5), "model.dropout = -0.5: "),
        ("model.hidden", Range(16.0, 32.0), "model.hidden = 16.0: "),
        ("model.kernel_size", Choices((3, 13)), "model.kernel_size = 13: "),
        ("model.channels", Choices(([4, 8], [4, 0])), "model.channels.1 = 0: "),
        ("optimizer.name", Choices(("adam", "sdg")), "'sdg'"),
    ],
)
def test_space_with_invalid_settings_is_rejected(honest, key, parameter, message):
    space = {"optimizer.learning_rate": Range(1e-4, 1e-2), key: parameter}
    with pytest.raises(ConfigError) as caught:
        check_space(space, honest, "mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    assert str(caught.value).count(message) == 1


def test_integer_range_of_a_float_setting_is_rejected(honest):
    space = parse_space({"augmentation": {"flip": {"low": 0, "high": 1}}}, "mine.toml")
    with pytest.raises(ConfigError, match=r"augmentation\.flip: .* write low = 0\.0, high = 1\.0"):
        check_space(space, honest, "mine.toml")
    integers = parse_space({"augmentation": {"shift": {"low": 0, "high": 1}}}, "mine.toml")
    check_space(integers, honest, "mine.toml")


def test_only_the_first_five_errors_are_listed(honest):
    space = {f"model.unknown{i}": Range(0.0, 1.0) for i in range(7)}
    with pytest.raises(ConfigError, match=r"unknown4.*; and 2 more$") as caught:
        check_space(space, honest, "mine.toml")
    assert "unknown5" not in str(caught.value)


def test_space_with_network_that_cannot_be_built_is_rejected(plan):
    space = {"model": {"channels": {"choices": [[4, 8], [4, 4, 4, 4, 4]]}}}
    with pytest.raises(ConfigError, match="test: "):
        plan(space=space)


def test_settings_are_encoded_only_if_the_space_contains_them(honest):
    space = {"model.channels": Choices(([32, 64], [64, 64])), "model.dropout": Range(0.0, 0.7)}
    values = encode_settings(honest, space)
    assert values == {"model.channels": "[32, 64]", "model.dropout": honest.model.dropout}
    assert encode_settings(honest, {**space, "model.dropout": Range(0.8, 0.9)}) is None


def test_short_names_omit_the_section_unless_ambiguous():
    keys = ["model.dropout", "a.scale", "b.scale", "schedule.name"]
    names = short_names(dict.fromkeys(keys, Range(0.0, 0.5)))
    assert list(names.values()) == ["dropout", "a.scale", "b.scale", "schedule.name"]
