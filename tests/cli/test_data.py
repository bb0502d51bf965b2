from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn.cli import image_bar
from fashioncnn.settings import SCHEMA

from ..data.test_class_folders import fill
from ..idx import write_idx


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


@pytest.fixture
def folder_with_duplicates(tmp_path, small):
    """Drawings as IDX files; ten test images are training images, five of them darker."""
    test = small.test.images.copy()
    test[:5], test[5:10] = small.train.images[:5], small.train.images[5:10] // 2
    write_idx_folder(tmp_path / "own", small, test)
    return tmp_path / "own"


def write_idx_folder(folder, small, test):
    folder.mkdir()
    for prefix, images, labels in (
        ("train", small.train.images, small.train.labels),
        ("t10k", test, small.test.labels),
    ):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)


def test_duplicates_are_counted(cli, folder_with_duplicates):
    found = cli.json("data", folder_with_duplicates, "--duplicates")["duplicates"]
    assert [d["splits"] for d in found] == [["train", "train"], ["train", "test"], ["test", "test"]]
    assert found[1]["exact_images"] == 5
    assert found[1]["near_images"] >= 10
    pairs = {tuple(pair["indices"]) for pair in found[1]["listed"]}
    assert {(i, i) for i in range(10)} <= pairs
    fewer = cli.json("data", folder_with_duplicates, "--duplicates", "--similarity", 1)
    assert fewer["duplicates"][1]["near_pairs"] <= found[1]["near_pairs"]
    out = cli.ok("data", folder_with_duplicates, "--duplicates")
    assert "test, also in train" in out
    assert "5 of 100" in out


def test_duplicates_are_drawn(cli, folder_with_duplicates):
    cli.ok("data", folder_with_duplicates, "--sheet", "examples.png")
    cli.ok("data", folder_with_duplicates, "--duplicates", "--sheet", "pairs.png")
    with Image.open("pairs.png") as pairs, Image.open("examples.png") as examples:
        assert pairs.format == "PNG"
        assert pairs.size != examples.size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--similarity", "0.95"], "--similarity 0.95: applies to duplicates; add --duplicates"),
        (["--duplicates", "--similarity", "0.5"], "greater than or equal to 0.9"),
        (["--duplicates", "--sheet", "x.png", "--split", "test"], "compares all splits; omit it"),
    ],
)
def test_options_of_duplicates_are_checked(cli, idx_folder, arguments, message):
    assert message in cli.fails(2, "data", idx_folder, *arguments)
    assert not Path("x.png").exists()


def test_contact_sheet_never_replaces_an_image(cli, tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("L", (28, 28), 40 * i).save(tmp_path / name / f"{i}.png")
    Image.new("L", (28, 28)).save(tmp_path / "photo.jpg")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for sheet in (tmp_path / "ant" / "0.png", tmp_path / "ant" / "sheet.png"):
        line = cli.fails(2, "data", tmp_path, "--sheet", sheet)
        assert f"--sheet {sheet}: is inside {tmp_path}, whose images are read" in line
    for name in ("photo.jpg", "sheet"):
        line = cli.fails(2, "data", "sketches", "--sheet", tmp_path / name)
        assert f"{name}: should end in .png" in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_of_reading_image_files_is_shown_on_a_terminal(
    cli, tmp_path, monkeypatch, is_terminal
):
    fill(tmp_path / "own", ["ant", "bee"], 8)
    tracked, names = image_bar.Progress.track, []

    def track(bar, results, total, description):
        names.append((description, total))
        return tracked(bar, results, total, description=description)

    monkeypatch.setattr(image_bar.Progress, "track", track)
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    cli.ok("data", tmp_path / "own")
    assert names == ([("reading", 16)] if is_terminal else [])
