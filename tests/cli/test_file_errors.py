"""Outputs that cannot be written: one line with the option, the file, the reason and a remedy."""

import errno
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from fashioncnn.cli.file_errors import file_error
from fashioncnn.files import REMEDIES

PREDICT = ["predict", "images", "--model", "run"]
OUTPUTS = {
    "--out p.csv": [*PREDICT, "--out", "p.csv"],
    "--save-views views/000001-0.png": [*PREDICT, "--save-views", "views"],
    "--explain maps/000001-0.png": [*PREDICT, "--explain", "maps"],
    "--sheet sheet.png": ["data", "sketches", "--sheet", "sheet.png"],
    "--out both": ["report", "run", "--out", "both"],
}
FULL = (
    "cannot be written: No space left on device; free some space, or name a place on another disk"
)
LONG = "x" * 300


@pytest.fixture
def images(trained, small):
    Path("images").mkdir()
    Image.fromarray(small.test.images[0]).save("images/0.png")


def files():
    return sorted(path for path in Path().rglob("*") if path.is_file())


@pytest.mark.parametrize("output", OUTPUTS)
def test_full_disk_is_reported_for_the_output(cli, images, monkeypatch, output):
    before = files()

    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    code, _, err = cli(*OUTPUTS[output])
    assert code == 1
    assert err.splitlines()[-1] == f"fashioncnn: {output}: {FULL}"
    assert files() == before


@pytest.mark.parametrize("name", ["EACCES", "EROFS", "EDQUOT", "EIO"])
def test_reason_and_remedy_are_named(cli, images, monkeypatch, name):
    code = getattr(errno, name)

    def fail(source, target):
        raise OSError(code, os.strerror(code), str(source))

    monkeypatch.setattr(os, "replace", fail)
    message = cli.fails(1, *OUTPUTS["--out p.csv"])
    expected = f"--out p.csv: cannot be written: {os.strerror(code)}; {REMEDIES[code]}"
    assert message == f"fashioncnn: {expected}"
    assert not re.search(r"[0-9a-f]{8}", message)


@pytest.mark.parametrize("output", OUTPUTS)
def test_folder_without_write_permission_is_reported(cli, images, monkeypatch, output):
    real_open = os.open

    def deny(path, flags, *arguments, **keywords):
        if flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real_open(path, flags, *arguments, **keywords)

    monkeypatch.setattr(os, "open", deny)
    code, _, err = cli(*OUTPUTS[output])
    assert code == 1
    line = err.splitlines()[-1]
    assert line.startswith(f"fashioncnn: {output}: cannot be written: Permission denied; ")


@pytest.mark.parametrize("output", ["--out p.csv", "--save-views", "--explain", "--sheet"])
def test_folder_without_write_permission_is_rejected_before_any_work(
    cli, images, monkeypatch, output
):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (arguments,) = (value for key, value in OUTPUTS.items() if key.startswith(output))
    assert "no file can be written into" in cli.fails(2, *arguments)


@pytest.mark.parametrize("option", ["--out", "--save-views", "--explain"])
@pytest.mark.parametrize("value", [f"{LONG}.csv", "run/config.toml/x"])
def test_impossible_paths_are_one_line(cli, images, option, value):
    code, out, err = cli(*PREDICT, option, value)
    assert code in (1, 2)
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"fashioncnn: {option} {value}: ")


@pytest.mark.parametrize("value", [f"{LONG}.png", "run/config.toml/x.png"])
def test_impossible_contact_sheets_are_one_line(cli, trained, value):
    code, _, err = cli("data", "sketches", "--sheet", value)
    assert code in (1, 2)
    assert err.startswith(f"fashioncnn: --sheet {value}: ")
    assert len(err.splitlines()) == 1


def test_error_in_a_temporary_file_names_the_final_one():
    error = OSError(errno.ENOSPC, "No space left on device")
    message = str(file_error(error, "runs/train-1/.metrics.json.0123abcd.tmp"))
    assert message.startswith("runs/train-1/metrics.json: No space left on device; free some space")


def test_error_without_a_number_keeps_its_message():
    assert str(file_error(OSError("cannot seek"), "a file")) == "a file: cannot seek"
