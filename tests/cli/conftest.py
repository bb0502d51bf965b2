import json

import pytest

from fashioncnn.cli import main

PLACE = ["--batch-size", "32", "--device", "cpu", "--threads", "1"]
NO_EPOCHS = [*PLACE, "--set", "model.channels=[4, 8]", "--set", "model.hidden=16"]
QUICK = [*NO_EPOCHS, "--epochs", "2"]


class CommandLine:
    """Runs a command in this process: its exit code, its stdout, its stderr."""

    def __init__(self, capsys):
        self.capsys = capsys

    def __call__(self, *arguments):
        self.capsys.readouterr()
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as stop:
            code = stop.code
        out, err = self.capsys.readouterr()
        return code, out, err

    def ok(self, *arguments):
        code, out, err = self(*arguments)
        assert code == 0, err
        return out

    def json(self, *arguments):
        return json.loads(self.ok(*arguments, "--json"))

    def fails(self, expected_code, *arguments):
        """Return the one line that a failing command says, without traceback or stdout."""
        code, out, err = self(*arguments)
        assert code == expected_code, err
        last = err.strip().splitlines()[-1]
        assert last.startswith("fashioncnn: ")
        assert "Traceback" not in err
        assert out == ""
        return last


@pytest.fixture
def cli(capsys):
    return CommandLine(capsys)


@pytest.fixture
def trained(cli, idx_folder):
    """A finished run on the small slice, as a folder of IDX files."""
    cli.ok("train", *QUICK, "--data", idx_folder, "--out", "run")
    return "run"
