import subprocess
import sys
from pathlib import Path

import pytest

from fashioncnn._version import __version__
from fashioncnn.cli import COMMANDS


def test_help_opens_with_an_example_and_lists_every_command(cli):
    out = cli.ok("--help")
    assert "Example: fashioncnn train --data sketches" in out
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(cli, command):
    out = cli.ok(command, "--help")
    assert f"Example: fashioncnn {command}" in out


def test_no_command_shows_help(cli):
    assert "Example:" in cli.ok()


def test_version(cli):
    assert cli.ok("--version").strip() == __version__


@pytest.mark.parametrize(
    "arguments",
    [
        ["trian"],
        ["train", "--epohcs", "3"],
        ["train", "--epochs", "many"],
        ["train", "one", "two"],
        ["evaluate"],
        ["train", "--select", "best"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_exit_code_2(cli, arguments):
    line = cli.fails(2, *arguments)
    assert len(line) > 20


def test_paths_that_the_system_refuses_are_one_line(cli, tmp_path, monkeypatch):
    assert "File name too long" in cli.fails(1, "data", "x" * 300)
    (tmp_path / "file").write_text("")
    assert "no such run or model" in cli.fails(2, "evaluate", tmp_path / "file" / "x")
    monkeypatch.setenv("FASHIONCNN_HOME", str(tmp_path / "file"))
    assert "Not a directory" in cli.fails(1, "data")


def test_a_full_device_is_one_line():
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    command = f"{sys.executable} -m fashioncnn data sketches --json > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "fashioncnn: output: No space left on device"


def test_devices_that_are_none_are_refused_everywhere(cli, tmp_path):
    for command in (["evaluate", tmp_path], ["predict", "a.png", "--model", tmp_path]):
        assert "device = foo" in cli.fails(2, *command, "--device", "foo")


def test_unknown_flags_get_the_nearest(cli):
    assert "--epochs" in cli.fails(2, "train", "--epohcs", "3")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_output_is_no_fault(closed):
    command = f"{sys.executable} -m fashioncnn --version {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
