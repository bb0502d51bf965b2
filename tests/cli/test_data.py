from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn.settings import SCHEMA


def test_sketches_are_counted_and_distinguished_from_fashion_mnist(cli):
    code, out, err = cli("data", "sketches")
    assert code == 0
    assert "3,000" in out
    assert "sketches: synthetic drawings, this is not Fashion-MNIST" in err


def test_json_describes_the_splits(cli, idx_folder, small):
    document = cli.json("data", idx_folder)
    assert document["schema"] == SCHEMA
    assert document["official"] is False
    assert list(document["splits"]) == ["train", "test"]
    assert document["splits"]["train"]["n"] == sum(document["splits"]["train"]["per_class"]) == 300
    assert document["splits"]["test"]["sha256"] == small.test.sha256


def test_missing_test_split_is_not_described(cli, idx_folder):
    for kind in ("images-idx3", "labels-idx1"):
        (idx_folder / f"t10k-{kind}-ubyte").unlink()
    assert list(cli.json("data", idx_folder)["splits"]) == ["train"]
    line = cli.fails(1, "data", idx_folder, "--sheet", "sheet.png", "--split", "test")
    assert "own: no test split" in line


def test_contact_sheet_is_written(cli, idx_folder):
    cli.ok("data", "--data", idx_folder, "--sheet", "sheet.png", "--split", "test")
    with Image.open("sheet.png") as image:
        assert image.format == "PNG"
        assert np.asarray(image).std() > 10


def test_interrupted_contact_sheet_is_not_left_behind(cli, idx_folder, monkeypatch):
    Path(".sheet.png.0123abcd.tmp").write_bytes(b"left by a killed process")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    code, _, _ = cli("data", "--data", idx_folder, "--sheet", "sheet.png")
    assert code == 130
    assert list(Path().iterdir()) == []


def test_contact_sheet_in_a_missing_folder_is_rejected(cli, idx_folder):
    line = cli.fails(2, "data", idx_folder, "--sheet", "no/such/x.png")
    assert "--sheet no/such/x.png: folder no/such does not exist; create it" in line


def test_file_is_rejected_with_the_supported_sources(cli, tmp_path):
    path = tmp_path / "arr.npy"
    np.save(path, np.zeros(3))
    line = cli.fails(2, "data", path)
    assert f"data = {path}: a file, not a dataset; supported are a folder of IDX files" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sketches", "--split", "all"), "split"),
        (("nowhere",), "data = nowhere: no such file or folder"),
        (("sketches", "--data", "elsewhere"), "sketches and --data elsewhere: conflicting sources"),
        (
            ("sketches", "--refresh"),
            "--refresh: applies to the cached Fashion-MNIST, not to sketch",
        ),
        (
            ("sketches", "--image-size", "64"),
            "--image-size 64: only image files and tables are resized",
        ),
        (("sketches", "--split", "test"), "--split test: applies to the contact sheet"),
    ],
)
def test_usage_error_is_one_line(cli, arguments, message):
    assert message in cli.fails(2, "data", *arguments)


def test_missing_data_offline_suggests_sketches(cli):
    assert "--data sketches" in cli.fails(1, "data", "--offline")
