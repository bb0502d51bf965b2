import sys
from pathlib import Path

import pytest
from PIL import Image

from fashioncnn.cli.predict_arguments import output_format, reject_model_folder
from fashioncnn.errors import UsageError

from .conftest import command_id


@pytest.fixture(autouse=True)
def _images():
    Path("images").mkdir()
    for path in ("images/0.png", "a.png"):
        Image.new("L", (28, 28)).save(path)
    Image.new("L", (28, 28)).save("image", "PNG")
    Path("names.txt").write_text("images/0.png\n")


@pytest.fixture(autouse=True)
def _no_model(monkeypatch):
    """Fail if an invalid command gets as far as loading a model."""

    def fail(task):
        raise AssertionError("the arguments should have been rejected")

    monkeypatch.setattr("fashioncnn.environment.require_modules", fail)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "predict: no image; give at least one file or folder"),
        (["a.png", "--top", "0"], "--top 0: should be greater than or equal to 1"),
        (["a.png", "--top", "2.5"], "--top 2.5: should be an integer"),
        (["a.png", "--abstain-below", "1.5"], "--abstain-below 1.5: should be less than or equal"),
        (["a.png", "--max-megapixels", "0"], "--max-megapixels 0: should be greater than 0"),
        (["a.png", "--max-megapixels", "1000"], "should be less than or equal to 178"),
        (["a.png", "--json", "--format", "csv"], "--json and --format csv: choose one"),
        (["a.png", "--views", "mirror"], 'Invalid value "mirror" for --views'),
        (
            ["a.png", "--sav-views", "x"],
            "--sav-views: unknown option; did you mean '--save-views'?",
        ),
        (["a.png", "-x"], "-x: unknown option"),
        (["a.png", "--out", "gone/a.csv"], "--out gone/a.csv: folder gone does not exist"),
        (["a.png", "--out", "images"], "--out images: exists and is not a file"),
        (["a.png", "--out", "/dev/null"], "--out /dev/null: exists and is not a file"),
        (["a.png", "--out", "a.xml"], "--out a.xml: no format has the suffix '.xml'"),
        (["a.png", "--out", "b.JPG"], "--out b.JPG: would overwrite an image"),
        (["image", "--out", "image"], "--out image: would overwrite an image"),
        (
            ["--from-file", "names.txt", "--out", "names.txt"],
            "would overwrite the --from-file list",
        ),
        (["a.png", "--explain", "a.png"], "--explain a.png: exists and is not a folder"),
        (["images", "--save-views", "images/x"], "--save-views images/x: is inside images"),
        (["a.png", "--save-views", "x", "--explain", "x"], "name two different folders"),
        (["-", "-"], "-: standard input can be read only once"),
        (["-", "--from-file", "-"], "-: standard input can be read only once"),
    ],
    ids=command_id,
)
def test_invalid_arguments_are_rejected_before_any_work(cli, arguments, message):
    before = {path: path.read_bytes() for path in Path().rglob("*.*")}
    assert message in cli.fails(2, "predict", *arguments)
    assert {path: path.read_bytes() for path in Path().rglob("*.*")} == before


def test_standard_input_of_a_terminal_is_rejected(cli, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert "pipe an image into it" in cli.fails(2, "predict", "-")


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["config.toml", "environment.json", "curves.png"], "run"),
        (["config.json", "model.safetensors"], "model"),
    ],
)
def test_run_and_model_folders_are_not_folders_of_images(cli, files, kind):
    Path("runs/x").mkdir(parents=True)
    for name in files:
        Path("runs/x", name).touch()
    assert cli.fails(2, "predict", "runs/x", "a.png") == (
        f"fashioncnn: runs/x: a {kind} folder, not images; to predict with its model, use --model "
        "runs/x"
    )


def test_the_name_of_a_bundled_model_is_not_an_image(cli):
    assert cli.fails(2, "predict", "photo", "a.png") == (
        "fashioncnn: photo: a bundled model, not an image; to predict with it, use --model photo"
    )


def test_a_folder_with_the_name_of_a_bundled_model_contains_images():
    Path("photo").mkdir()
    assert reject_model_folder("photo") == "photo"


@pytest.mark.parametrize(
    ("format_", "json", "out", "expected"),
    [
        (None, False, None, "table"),
        ("csv", False, None, "csv"),
        (None, True, "p.csv", "json"),
        ("jsonl", False, "p.csv", "jsonl"),
        (None, False, "p.CSV", "csv"),
        (None, False, "p.jsonl", "jsonl"),
        (None, False, "p.txt", "table"),
        (None, False, "p", "table"),
        ("json", True, None, "json"),
    ],
)
def test_format_is_that_of_the_option_else_of_the_suffix(format_, json, out, expected):
    assert output_format(format_, json, None if out is None else Path(out)) == expected


def test_unknown_suffixes_are_rejected_only_without_a_format():
    assert output_format("csv", False, Path("a.xml")) == "csv"
    with pytest.raises(UsageError, match="no format has the suffix"):
        output_format(None, False, Path("a.xml"))
