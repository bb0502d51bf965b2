import numpy as np
from PIL import Image


def test_sketches_are_counted_and_named_for_what_they_are(cli):
    code, out, err = cli("data", "sketches")
    assert code == 0
    assert "3,000" in out
    assert "this is not Fashion-MNIST" in err


def test_json(cli, idx_folder, small):
    document = cli.json("data", idx_folder)
    assert document["official"] is False
    assert document["splits"]["train"]["n"] == 300
    assert document["splits"]["test"]["sha256"] == small.test.sha256


def test_sheet_is_a_image(cli, idx_folder):
    cli.ok("data", "--data", idx_folder, "--sheet", "sheet.png", "--split", "test")
    with Image.open("sheet.png") as image:
        assert image.format == "PNG"
        assert np.asarray(image).std() > 10


def test_wrong_usage(cli, idx_folder):
    assert "train or test" in cli.fails(2, "data", idx_folder, "--split", "all")
    assert "no such folder" in cli.fails(2, "data", "nowhere")
    assert "cannot be written" in cli.fails(1, "data", idx_folder, "--sheet", "no/such/x.png")
    assert "--data sketches" in cli.fails(1, "data", "--offline")


def test_two_sources_are_one_too_many(cli):
    line = cli.fails(2, "data", "sketches", "--data", "elsewhere")
    assert "sketches and --data elsewhere: name one of them" in line
    line = cli.fails(2, "data", "sketches", "--refresh")
    assert "--refresh: is for Fashion-MNIST alone, not for sketches" in line


def test_options_that_would_do_nothing_are_refused(cli):
    line = cli.fails(2, "data", "sketches", "--image-size", "64")
    assert "--image-size 64: only images of class folders are resized" in line
    assert "--split test: is the part that --sheet draws" in cli.fails(
        2, "data", "sketches", "--split", "test"
    )
