import inspect
from pathlib import Path
from typing import Any

import pytest

from fashioncnn.cli.options import option_name
from fashioncnn.cli.setting_flags import resolve_settings, setting_flags
from fashioncnn.cli.train import train
from fashioncnn.config import FLAGS, read_settings
from fashioncnn.errors import ConfigError
from fashioncnn.settings_reference import find_setting

from .conftest import QUICK, command_id


def test_every_flag_is_an_option_of_train():
    assert set(FLAGS) <= set(inspect.signature(train).parameters)


@pytest.mark.parametrize("name", FLAGS)
def test_help_of_flags_is_that_of_the_settings(cli, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "400")
    lines = cli.ok("train", "--help").splitlines()
    line = next(line for line in lines if line.startswith(f"│ {option_name(name)} "))
    setting = find_setting(FLAGS[name])
    assert setting.description.replace("``", "") in line
    assert setting.bounds in line
    assert all(choice in line for choice in setting.choices)


def test_flags_that_are_not_given_are_not_passed_on():
    @setting_flags("epochs", "seed")
    def command(path: str, *, json: bool = False, **flags: Any) -> None:
        """Do nothing."""

    names = list(inspect.signature(command).parameters)
    assert names == ["path", "epochs", "seed", "json"]
    assert resolve_settings("baseline", {}) == resolve_settings("baseline", {"epochs": None})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs 0: should be greater than or equal to 1"),
        (["--epochs", "1.5"], "--epochs 1.5: should be a valid integer"),
        (["--epochs", "2.0"], "--epochs 2.0: should be a valid integer"),
        (["--batch-size", "31.5"], "--batch-size 31.5: should be a valid integer"),
        (["--seed", "-1"], "--seed -1: should be greater than or equal to 0"),
        (["--learning-rate", "nan"], "--learning-rate nan: should be a finite number"),
        (["--learning-rate", "fast"], "--learning-rate fast: should be a valid number"),
        (["--threads", "no"], "--threads no: should be a valid integer, or should be 'auto'"),
        (["--select", "best"], "--select best: should be 'last' or 'best_val'"),
        (["--device", "tpu"], "--device tpu: should be auto, cpu, mps, cuda or"),
        (["--image-size", "1"], "--image-size 1: should be greater than or equal to 8"),
        (["--epochs", "3", "--set", "epochs=0"], "training.epochs = 0: should be"),
        (["--set", "a=1", "b=2"], "a: no such setting; b: no such setting"),
        (
            ["--epochs", "0", "--seed", "x"],
            "--epochs 0: should be greater than or equal to 1, or should be 'auto'; --seed x",
        ),
    ],
    ids=command_id,
)
def test_invalid_values_are_rejected_with_the_name_of_the_flag(cli, arguments, message):
    assert message in cli.fails(2, "train", *arguments)


def test_numbers_and_words_are_parsed(cli, idx_folder):
    flags = ["--learning-rate", ".001", "--validation", "10", "--seed", "007"]
    cli.ok("train", *QUICK, "--data", idx_folder, "--out", "r", *flags)
    settings = read_settings(Path("r/config.toml"))
    assert settings.optimizer.learning_rate == 0.001
    assert settings.data.validation == 10
    assert settings.training.seed == 7
    assert settings.training.track_test


def test_environment_variables_are_named_in_messages(monkeypatch):
    monkeypatch.setenv("FASHIONCNN_EPOCHS", "0")
    with pytest.raises(ConfigError, match=r"^FASHIONCNN_EPOCHS = 0: should be"):
        resolve_settings("baseline", {})
    assert resolve_settings("baseline", {"epochs": 3}).training.epochs == 3
