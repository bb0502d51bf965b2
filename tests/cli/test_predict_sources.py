"""Sources of ``fashioncnn predict``: order, lists, and files that are skipped."""

import io
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from ..idx import write_idx
from .conftest import stored_labels, top_labels


@pytest.fixture
def pipe(monkeypatch):
    """Return a function that puts bytes on standard input."""

    def put(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


def test_predictions_are_in_the_order_of_the_sources(cli, trained, images, small, pipe):
    write_idx(Path("t10k-images-idx3-ubyte.gz"), small.test.images[:3])
    pipe(Path(images, "2.png").read_bytes())
    sources = ["images/1.png", "-", "t10k-images-idx3-ubyte.gz", "images/[02].png", images]
    document = cli.json("predict", *sources, "--model", trained)
    names = ["images/1.png", "-", *(f"t10k-images-idx3-ubyte.gz[{i}]" for i in range(3))]
    names += [f"images/{i}.png" for i in (0, 2, 0, 1, 2)]
    assert [p["source"] for p in document["predictions"]] == names
    assert top_labels(document) == stored_labels(trained, [1, 2, 0, 1, 2, 0, 2, 0, 1, 2])


@pytest.mark.parametrize("separator", ["\n", "\0"])
def test_sources_from_a_list(cli, trained, images, pipe, separator):
    names = [f"images/{i}.png" for i in (2, 0)]
    Path("list").write_text(separator.join(names) + separator)
    pipe(Path("list").read_bytes())
    for source in ("list", "-"):
        document = cli.json("predict", "--from-file", source, "--model", trained)
        assert [p["source"] for p in document["predictions"]] == names


def test_a_list_that_does_not_exist_is_rejected(cli, trained):
    message = cli.fails(2, "predict", "--from-file", "gone", "--model", trained)
    assert message == "fashioncnn: --from-file gone: No such file or directory"


def test_a_list_on_a_device_is_rejected_and_one_on_a_pipe_is_read(cli, trained, images):
    message = cli.fails(2, "predict", "--from-file", "/dev/zero", "--model", trained)
    assert message.startswith("fashioncnn: --from-file /dev/zero: a device")
    reading, writing = os.pipe()
    os.write(writing, b"images/1.png\n")
    os.close(writing)
    document = cli.json("predict", "--from-file", f"/dev/fd/{reading}", "--model", trained)
    os.close(reading)
    assert [p["source"] for p in document["predictions"]] == ["images/1.png"]


def test_model_folders_in_a_list_are_rejected(cli, trained):
    Path("list").write_text(f"{trained}/model\n")
    message = cli.fails(2, "predict", "--from-file", "list", "--model", trained)
    assert f"{trained}/model: a model folder, not images" in message


def test_unreadable_files_are_reported_and_skipped(cli, trained, images):
    Path(images, "1.png").write_bytes(b"broken")
    code, out, err = cli("predict", images, "gone.jpg", "--model", trained, "--json")
    assert code == 1
    predictions = json.loads(out)["predictions"]
    assert [bool(p["error"]) for p in predictions] == [False, True, False, True]
    assert "skipped: images/1.png: not a JPEG" in err
    assert "skipped: gone.jpg: no such file" in err
    assert "2 of 4 images could not be read" in err


@pytest.mark.parametrize("source", ["gone.jpg", "*.jpg", "empty"])
def test_exit_code_is_2_only_if_no_source_exists(cli, trained, images, source):
    Path("empty").mkdir()
    assert "no image found" in cli.fails(2, "predict", source, "--model", trained)
    code, out, err = cli("predict", source, images, "--model", trained)
    assert code == 1
    assert f"skipped: {source}: " in err
    assert "1 of 4 images could not be read" in err
    assert "images/2.png" in out


def test_every_supported_file_is_predicted_and_others_are_named(cli, trained, small):
    Path("closet").mkdir()
    image = Image.fromarray(small.test.images[0])
    suffixes = ["bmp", "gif", "pgm", "png", "tif", "TIFF", "webp", "avif", "jpg", "JPEG", "jfif"]
    for suffix in suffixes:
        image.save(f"closet/a.{suffix}", "JPEG" if suffix == "jfif" else None)
    for name in ("notes.txt", "b.pdf", "c.jp2", "prices", ".hidden", "Thumbs.db"):
        Path("closet", name).write_text("text")
    code, out, err = cli("predict", "closet", "--model", trained, "--json")
    assert code == 0
    assert len(json.loads(out)["predictions"]) == len(suffixes)
    names = "closet/b.pdf, closet/c.jp2, closet/notes.txt, …"
    assert f"skipped 4 files that are not images: {names}\n" in err


def test_heic_is_predicted_or_names_the_extra(cli, trained, small, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    image = Image.fromarray(small.test.images[0]).resize((112, 112))
    pillow_heif.from_pillow(image).save("a.heic")
    cli.ok("predict", "a.heic", "--model", trained)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    code, out, err = cli("predict", "a.heic", "--model", trained, "--json")
    assert code == 1
    assert "pip install '.[heif]'" in json.loads(out)["predictions"][0]["error"]
    assert "skipped: a.heic: a HEIC image; pillow-heif is not installed" in err


def test_untrusted_files_are_reported_and_skipped(cli, trained, images):
    os.mkfifo("images/fifo.png")
    Path("images/circle.png").symlink_to("circle.png")
    Path("images/drawing.png").write_text("<svg/>")
    Path("images/page.jpg").write_text("%!PS-Adobe")
    code, out, err = cli("predict", images, "--model", trained, "--json")
    assert code == 1
    predictions = {p["source"]: p for p in json.loads(out)["predictions"]}
    assert len(predictions) == 7
    assert "4 of 7 images could not be read" in err
    assert "a FIFO" in predictions["images/fifo.png"]["error"]


def test_untrusted_file_names_are_escaped(cli, trained, images):
    name = os.fsdecode(b"images/\xff\x1b[31m.png")
    shutil.copy("images/0.png", name)
    Path("images/\x1b[31m.jpg").touch()
    shutil.copy("images/0.png", "=cmd().png")
    command = ["predict", images, "=cmd().png", "--model", trained]
    for format_name in ("table", "csv"):
        code, out, err = cli(*command, "--format", format_name)
        assert code == 1
        assert "\x1b" not in out + err
    assert out.splitlines()[-1].startswith("'=cmd().png,")
    _, out, _ = cli(*command, "--json")
    predictions = {p["source"]: p for p in json.loads(out)["predictions"]}
    assert predictions[name]["top"] == predictions["images/0.png"]["top"]


def test_a_name_that_is_too_long_is_skipped(cli, trained, images):
    name = "x" * 5000
    code, out, err = cli("predict", "--model", trained, name, "images/0.png", "--json")
    assert code == 1
    assert [p["source"] for p in json.loads(out)["predictions"]] == [name, "images/0.png"]
    assert "File name too long" in err
    assert len(err) < 1000


def test_images_above_the_limit_of_megapixels_are_skipped(cli, trained, images):
    base = ["predict", images, "--model", trained, "--max-megapixels"]
    code, _, err = cli(*base, "0.0007")
    assert code == 1
    assert err.count("megapixels; resize the image, or raise --max-megapixels\n") == 3
    assert "3 of 3 images could not be read" in err
    cli.ok(*base, "0.000784")
