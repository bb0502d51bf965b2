import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from fashioncnn.errors import MissingExtraError, UsageError
from fashioncnn.tracking.options import TrackerOption, parse_trackers


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    monkeypatch.setattr("fashioncnn.environment.is_installed", lambda module: True)


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("tensorboard", TrackerOption("tensorboard")),
        ("tensorboard:logs/a", TrackerOption("tensorboard", "logs/a")),
        ("mlflow", TrackerOption("mlflow")),
        ("mlflow:http://host:5000", TrackerOption("mlflow", "http://host:5000")),
        ("mlflow:sqlite:///a/b.db", TrackerOption("mlflow", "sqlite:///a/b.db")),
        ("mlflow:experiments.db", TrackerOption("mlflow", "experiments.db")),
    ],
)
def test_places_are_parsed(text, option):
    assert parse_trackers(text) == [option]


def test_several_kinds_can_be_given():
    kinds = [option.kind for option in parse_trackers(["tensorboard:x", "mlflow"])]
    assert kinds == ["tensorboard", "mlflow"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("wandb", "--track wandb: should be tensorboard"),
        ("", "should be tensorboard"),
        ("tensorboard:", "--track tensorboard: should be"),
        ("mlflow:ftp://host", "its URI should be sqlite:///FILE, http"),
        ("mlflow:sqlite:a.db", "its URI should be"),
        (["mlflow", "mlflow:a.db"], "--track mlflow: given twice"),
    ],
)
def test_other_values_are_rejected(values, message):
    with pytest.raises(UsageError, match=message):
        parse_trackers(values)


def test_folder_that_is_a_file_is_rejected(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file; give a folder"):
        parse_trackers(f"tensorboard:{tmp_path / 'file'}")


def test_password_of_a_server_is_not_shown():
    option = TrackerOption("mlflow", "https://ann:secret@host:5000/x")
    assert str(option) == "mlflow:https://host:5000/x"


def test_missing_package_is_reported_with_the_install_command(monkeypatch):
    monkeypatch.setattr("fashioncnn.environment.is_installed", lambda module: module != "mlflow")
    with pytest.raises(MissingExtraError, match=r"mlflow is not installed; .* '\.\[track\]'"):
        parse_trackers("mlflow")


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="needs the extra [track]")
def test_options_import_no_tracker():
    code = (
        "import sys; from fashioncnn.tracking.options import parse_trackers;"
        "parse_trackers(['mlflow', 'tensorboard']);"
        "print([m for m in ('mlflow', 'torch', 'tensorboard', 'sqlalchemy') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path()
    )
    assert result.stdout == "[]\n"
