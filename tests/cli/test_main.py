import subprocess
import sys
from pathlib import Path

import pytest

from fashioncnn._version import __version__
from fashioncnn.cli import COMMANDS, GROUPS

from .conftest import command_id

PAGES = [[], *([name] for name in COMMANDS), *(["bench", name] for name in GROUPS["bench"])]


def shell(command):
    line = f"{sys.executable} -m fashioncnn {command}"
    return subprocess.run(line, shell=True, capture_output=True, text=True, check=False)


def test_help_has_an_example_and_lists_every_command(cli):
    out = cli.ok("--help")
    assert "Example: fashioncnn train --data sketches" in out
    assert all(name in out for name in COMMANDS)


def test_no_command_prints_help(cli):
    assert cli.ok() == cli.ok("--help")


@pytest.mark.parametrize("page", PAGES[1:], ids=" ".join)
def test_help_of_every_command_has_an_example(cli, page):
    assert f"Example: fashioncnn {' '.join(page)}" in cli.ok(*page, "--help")


@pytest.mark.parametrize("page", PAGES, ids=" ".join)
@pytest.mark.parametrize("columns", ["60", "80"])
def test_help_fits_the_terminal(cli, monkeypatch, page, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert max(map(len, cli.ok(*page, "--help").splitlines())) <= int(columns)


def test_help_joins_the_lines_of_docstrings(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    out = cli.ok("predict", "--help")
    assert "patterns such as 'closet/*.jpg', IDX files" in out
    assert "Files that cannot be read are reported and skipped; the exit code is then 1" in out


def test_help_of_all_commands_imports_neither_torch_nor_scipy_nor_matplotlib():
    code = (
        "import sys; from fashioncnn.cli import main\n"
        "main(['--help'])\n"
        "print([m for m in ('numpy', 'PIL', 'pydantic') if m in sys.modules])\n"
        f"for page in {PAGES!r}: main([*page, '--help'])\n"
        "print([m for m in ('torch', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n[]\n") == 2


def test_version(cli):
    assert cli.ok("--version").strip() == __version__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "Did you mean"),
        (["train", "--epohcs", "3"], "--epohcs: unknown option; did you mean '--epochs'?"),
        (["train", "--epochs"], "--epochs: value missing; see fashioncnn train --help"),
        (["train", "one", "two"], "two: unexpected argument; see fashioncnn train --help"),
        (["evaluate"], "MODEL: value missing; see fashioncnn evaluate --help"),
        (["evaluate", "x", "--split", "training"], 'Invalid value "training" for --split'),
        (["bench", "trian"], "trian"),
    ],
    ids=command_id,
)
def test_invalid_usage_is_one_line_and_exit_code_2(cli, arguments, message):
    assert message in cli.fails(2, *arguments)


def test_errors_of_the_file_system_are_one_line(cli, tmp_path, monkeypatch):
    assert "File name too long" in cli.fails(1, "data", "x" * 300)
    (tmp_path / "file").touch()
    assert "no such run or model" in cli.fails(2, "evaluate", tmp_path / "file" / "x")
    monkeypatch.setenv("FASHIONCNN_HOME", str(tmp_path / "file"))
    assert "Not a directory" in cli.fails(1, "data")


def test_other_runtime_errors_are_not_hidden(cli, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a fault")

    monkeypatch.setattr("fashioncnn.cli.datasets.load_for", fail)
    with pytest.raises(RuntimeError, match="a fault"):
        cli("data", "sketches")


def test_unknown_devices_are_rejected(cli, tmp_path):
    for command in (["evaluate", tmp_path], ["predict", "a.png", "--model", tmp_path]):
        assert "device = foo" in cli.fails(2, *command, "--device", "foo")


@pytest.mark.parametrize(
    "command", [("evaluate",), ("bench", "predict"), ("predict", "a.png", "--model")], ids=" ".join
)
def test_missing_model_is_rejected_before_kernels_are_compiled(cli, monkeypatch, command):
    monkeypatch.setattr("fashioncnn.devices.resolve_kernels", lambda *_: pytest.fail("compiled"))
    assert "nowhere: no such run or model folder" in cli.fails(2, *command, "nowhere")


def test_full_device_is_one_line():
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    done = shell("--version > /dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "fashioncnn: standard output: No space left on device; free some space, or name a place on "
        "another disk"
    ]


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_no_error(closed):
    done = shell(f"--version {closed}")
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_closed_standard_input_is_an_empty_image(cli, trained, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    code, _, err = cli("predict", "-", "--model", trained)
    sys.stdin.close()
    assert code == 1
    assert "skipped: -: " in err
