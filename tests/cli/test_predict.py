import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn.models.trained_model import save_model
from fashioncnn.reporting.predictions import FORMATS

from ..idx import write_idx


@pytest.fixture
def images(small):
    Path("images").mkdir()
    for i in range(3):
        Image.fromarray(small.test.images[i]).save(f"images/{i}.png")
    return "images"


def test_json_has_the_promised_form(cli, trained, images):
    document = cli.json("predict", images, "--model", trained)
    assert list(document) == ["schema", "model", "predictions"]
    assert [p["source"] for p in document["predictions"]] == [f"images/{i}.png" for i in range(3)]
    for prediction in document["predictions"]:
        assert list(prediction) == ["source", "top", "confidence", "abstained", "error"]
        assert len(prediction["top"]) == 3
        assert list(prediction["top"][0]) == ["code", "name", "probability"]
        probabilities = [c["probability"] for c in prediction["top"]]
        assert probabilities == sorted(probabilities, reverse=True)


def test_predictions_are_those_of_the_judged_network(cli, trained, images):
    document = cli.json("predict", images, "--model", trained, "--top", "10")
    with np.load(Path(trained, "predictions.npz")) as stored:
        expected = stored["test_logits"][:3].argmax(axis=1)
    assert [p["top"][0]["code"] for p in document["predictions"]] == expected.tolist()
    assert sum(c["probability"] for c in document["predictions"][0]["top"]) == pytest.approx(1)


def test_table_names_every_image(cli, trained, images):
    out = cli.ok("predict", images, "--model", trained)
    assert all(f"images/{i}.png" in out for i in range(3))


def test_fit_decides_what_the_network_sees(cli, tiny_result):
    """A dark square on the left of a light image: whole, squeezed, cut off, or found."""
    pixels = np.full((60, 120, 3), 240, np.uint8)
    pixels[15:45, 6:36] = (30, 30, 90)
    Image.fromarray(pixels).save("square.png")
    save_model(tiny_result.model, Path("model"), "")
    lit = {}
    for fit in ("auto", "photo", "cutout", "fashion", "pad", "stretch", "crop"):
        cli.ok("predict", "square.png", "--model", "model", "--fit", fit, "--save-views", fit)
        (path,) = Path(fit).iterdir()
        seen = np.asarray(Image.open(path)) > 128
        lit[fit] = seen[:, :28].mean()
    assert lit["auto"] == lit["fashion"] > 0.9
    assert lit["cutout"] > 0.7  # its edge is soft
    assert lit["pad"] == pytest.approx(30 * 30 / 120**2, abs=0.02)
    assert lit["stretch"] == pytest.approx(2 * lit["pad"], abs=0.02)
    assert lit["crop"] == pytest.approx(6 * 30 / 60**2, abs=0.03)


def test_fit_is_refused_for_networks_of_other_images(cli, trained, images):
    assert "leave --fit away" in cli.fails(2, "predict", images, "--model", trained, "--fit=pad")


def test_what_is_not_likely_enough_is_unsure(cli, trained, images):
    asked = ("predict", images, "--model", trained)
    likely = [p["top"][0]["probability"] for p in cli.json(*asked)["predictions"]]
    bound = sorted(likely)[1]  # not below itself: one of the three is
    predictions = cli.json(*asked, "--abstain-below", repr(bound))["predictions"]
    assert [p["abstained"] for p in predictions] == [value < bound for value in likely]
    assert [p["confidence"] for p in predictions] == likely
    assert cli.ok(*asked, "--abstain-below", "1").count("unsure (") == 3
    assert "unsure" not in cli.ok(*asked)
    assert "must be from 0 to 1" in cli.fails(2, *asked, "--abstain-below", "1.5")


def test_broken_files_are_named_and_skipped_and_the_rest_goes_on(cli, trained, images):
    Path(images, "1.png").write_bytes(b"broken")
    code, out, err = cli("predict", images, "gone.jpg", "--model", trained, "--json")
    assert code == 1
    predictions = json.loads(out)["predictions"]
    assert [bool(p["error"]) for p in predictions] == [False, True, False, True]
    assert "skipped: images/1.png: not a JPEG" in err
    assert "skipped: gone.jpg: no such file" in err
    assert "2 of 4 images could not be read" in err


@pytest.fixture
def piped(monkeypatch):
    """Return a function that puts bytes on standard input."""

    def pipe(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return pipe


def test_a_model_that_comes_with_the_package_is_the_default(
    cli, trained, images, small, monkeypatch
):
    models = {"photo": Path(trained, "model"), "accurate": Path(trained, "model")}
    monkeypatch.setattr("fashioncnn.models.trained_model.bundled_models", lambda: models)
    write_idx(Path("images"), small.test.images[:2])
    assert cli.json("predict", images)["model"] == "photo"
    assert cli.json("predict", "images")["model"] == "accurate"
    assert cli.json("predict", "images", images)["model"] == "photo"
    assert cli.json("predict", images, "--model", trained)["model"] == trained


def test_a_model_that_learnt_no_photographs_is_warned_of_where_it_sees_one(
    cli, tiny_result, images
):
    save_model(replace(tiny_result.model, dataset="fashion-mnist"), Path("model"), "")
    Image.new("RGB", (60, 40), "white").save("photograph.jpg")
    warning = "model has learnt from no photographs"
    save_model(tiny_result.model, Path("other-data-model"), "")

    def warned(*arguments):
        code, _, err = cli("predict", *arguments)
        assert code == 0, err
        return warning in err

    assert warned("photograph.jpg", images, "--model", "model")
    assert not warned(images, "--model", "model")
    assert not warned("photograph.jpg", "--model", "other-data-model")


def test_every_kind_of_source_keeps_its_place(cli, trained, images, small, piped):
    write_idx(Path("t10k-images-idx3-ubyte.gz"), small.test.images[:3])
    piped(Path(images, "2.png").read_bytes())
    sources = ["images/1.png", "-", "t10k-images-idx3-ubyte.gz", "images/[02].png", images]
    predictions = cli.json("predict", *sources, "--model", trained, "--top", "10")["predictions"]
    names = ["images/1.png", "-", *(f"t10k-images-idx3-ubyte.gz[{i}]" for i in range(3))]
    names += [f"images/{i}.png" for i in (0, 2, 0, 1, 2)]
    assert [p["source"] for p in predictions] == names
    with np.load(Path(trained, "predictions.npz")) as stored:
        expected = stored["test_logits"][[1, 2, 0, 1, 2, 0, 2, 0, 1, 2]].argmax(axis=1)
    assert [p["top"][0]["code"] for p in predictions] == expected.tolist()


@pytest.mark.parametrize("end", ["\n", "\0"])
def test_names_from_a_list(cli, trained, images, piped, end):
    names = [f"images/{i}.png" for i in (2, 0)]
    Path("list").write_text(end.join(names) + end)
    piped(Path("list").read_bytes())
    for source in ("list", "-"):
        document = cli.json("predict", "--from-file", source, "--model", trained)
        assert [p["source"] for p in document["predictions"]] == names
    assert "--from-file gone" in cli.fails(2, "predict", "--from-file", "gone", "--model", trained)


def test_formats(cli, trained, images):
    Path(images, "1.png").write_bytes(b"broken")
    base = ["predict", images, "--model", trained, "--top", "99"]
    _, document, _ = cli(*base, "--json")
    predictions = json.loads(document)["predictions"]
    _, lines, _ = cli(*base, "--format", "jsonl")
    assert [json.loads(line) for line in lines.splitlines()] == predictions
    _, table, _ = cli(*base, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["source"] for row in rows] == [p["source"] for p in predictions]
    assert "name_10" in rows[0] and "name_11" not in rows[0]
    assert rows[0]["name_1"] == predictions[0]["top"][0]["name"]
    assert rows[1]["error"] == predictions[1]["error"]


@pytest.mark.parametrize("name", ["p.csv", "p.json", "p.jsonl", "p.txt"])
def test_a_file_holds_what_would_be_printed(cli, trained, images, name):
    kind = {"p.txt": "table"}.get(name, name[2:])
    printed = cli.ok("predict", images, "--model", trained, "--format", kind)
    assert cli.ok("predict", images, "--model", trained, "--out", name) == ""
    assert Path(name).read_text() == printed
    assert [p.name for p in Path().glob(".p*")] == []


def test_a_file_is_left_alone_until_all_is_done(cli, trained, images, monkeypatch):
    Path("p.csv").write_text("before")

    def interrupted(*_):
        yield "half"
        raise KeyboardInterrupt

    monkeypatch.setitem(FORMATS, "csv", interrupted)
    code, _, err = cli("predict", images, "--model", trained, "--out", "p.csv")
    assert code == 130
    assert err.endswith("fashioncnn: interrupted\n")
    assert Path("p.csv").read_text() == "before"
    assert sorted(p.name for p in Path().iterdir() if "p.csv" in p.name) == ["p.csv"]


def test_what_is_found_nowhere(cli, trained, images):
    Path("empty").mkdir()
    for source in ("gone.jpg", "*.jpg", "empty"):
        assert "no image found" in cli.fails(2, "predict", source, "--model", trained)
        code, out, err = cli("predict", source, images, "--model", trained)
        assert code == 1
        assert f"skipped: {source}: " in err
        assert "1 of 4 images could not be read" in err
        assert "images/2.png" in out


def test_hostile_files_are_named_and_the_rest_goes_on(cli, trained, images):
    os.mkfifo("images/fifo.png")
    Path("images/circle.png").symlink_to("circle.png")
    Path("images/drawing.png").write_text("<svg/>")
    Path("images/page.jpg").write_text("%!PS-Adobe")
    odd = os.fsdecode(b"images/\xff\x1b[31m.png")
    shutil.copy("images/0.png", odd)
    shutil.copy("images/0.png", "images/=cmd().png")
    code, out, err = cli("predict", images, "--model", trained, "--json")
    assert code == 1
    predictions = {p["source"]: p for p in json.loads(out)["predictions"]}
    assert len(predictions) == 9
    assert predictions[odd]["top"] == predictions["images/0.png"]["top"]
    assert "4 of 9 images could not be read" in err
    assert "a FIFO" in predictions["images/fifo.png"]["error"]
    for kind in ("table", "csv"):
        code, out, err = cli("predict", images, "--model", trained, "--format", kind)
        assert code == 1
        assert "\x1b" not in err
    os.chdir(images)
    _, out, _ = cli("predict", "=cmd().png", "--model", f"../{trained}", "--format", "csv")
    assert out.splitlines()[1].startswith("'=cmd().png,")


def test_the_list_of_names_is_not_written_over(cli, trained, images):
    Path("names.txt").write_text(f"{images}/0.png\n")
    line = cli.fails(
        2, "predict", "--from-file", "names.txt", "--out", "names.txt", "--model", trained
    )
    assert "--out names.txt: is the list that --from-file reads" in line
    assert Path("names.txt").read_text() == f"{images}/0.png\n"


def test_the_limit_of_megapixels(cli, trained, images):
    base = ["predict", images, "--model", trained, "--max-megapixels"]
    assert "3 of 3 images" in cli.fails(1, *base, "0.0007")
    cli.ok(*base, "0.000784")
    assert "must be above 0" in cli.fails(2, *base, "0")
    assert "at most 178" in cli.fails(2, *base, "1000")


def test_what_the_network_saw_gives_the_same_answer(cli, trained, images):
    Image.new("RGB", (90, 60), "white").save("images/white.jpg")
    Path(images, "1.png").write_bytes(b"broken")
    base = ["--model", trained, "--json"]
    _, out, _ = cli("predict", images, *base, "--save-views", "seen/here", "--explain", "why")
    names = ["000001-0.png", "000003-2.png", "000004-white.png"]
    assert sorted(p.name for p in Path("seen/here").iterdir()) == names
    assert sorted(p.name for p in Path("why").iterdir()) == names
    first = [p["top"] for p in json.loads(out)["predictions"] if not p["error"]]
    again = cli.json("predict", "seen/here", "--model", trained)["predictions"]
    assert [p["top"] for p in again] == first
    with Image.open("why/000001-0.png") as drawn:
        assert drawn.width > 2 * 28


def test_a_bar_is_drawn_on_a_terminal_alone(cli, trained, images, monkeypatch):
    _, _, err = cli("predict", images, "--model", trained, "--out", "a.csv")
    assert "predicting" not in err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    _, _, err = cli("predict", images, "--model", trained, "--out", "a.csv")
    assert "predicting" in err and "3/3" in err


@pytest.fixture
def heeded():
    """What a shell began in its background ignores interrupts, and so would its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_it_cleanly(trained, images, number, code, said):
    """A real process with a real signal, while images go by."""
    os.mkfifo("list")
    command = [sys.executable, "-m", "fashioncnn", "predict", "--model", trained]
    command += ["--from-file", "list", "--out", "p.jsonl"]
    with (
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process,
        Path("list").open("w") as names,
    ):
        names.write("images/0.png\n" * 3000)
        names.flush()
        while not list(Path().glob(".p.jsonl.*")):
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err == f"fashioncnn: {said}\n"
    assert not list(Path().glob("*p.jsonl*"))
    assert not list(Path().glob(".p.jsonl*"))


def test_wrong_usage(cli, trained, images, tmp_path, monkeypatch, piped):
    assert "at least one image" in cli.fails(2, "predict")
    assert "--top 0" in cli.fails(2, "predict", "a.png", "--top", "0")
    base = ["predict", images, "--model", trained]
    assert "choose one" in cli.fails(2, *base, "--json", "--format", "csv")
    assert "no such folder" in cli.fails(2, *base, "--out", "gone/a.csv")
    assert "something else than a file" in cli.fails(2, *base, "--out", images)
    assert "something else than a file" in cli.fails(2, *base, "--out", "/dev/null")
    assert "'.xml' tells no format" in cli.fails(2, *base, "--out", "a.xml")
    assert not Path("a.xml").exists()
    assert "not a folder" in cli.fails(2, *base, "--explain", "images/0.png")
    assert "lies in images" in cli.fails(2, *base, "--save-views", "images/seen")
    assert not Path("images/seen").exists()
    assert "two folders" in cli.fails(2, *base, "--save-views", "a", "--explain", "a")
    unknown = cli.fails(2, *base, "--sav-seen", "x")
    assert "Unknown option: --sav-seen; did you mean '--save-views'?" in unknown
    piped(b"")
    assert "read once" in cli.fails(2, "predict", "-", "-", "--model", trained)
    assert "read once" in cli.fails(2, "predict", "-", "--from-file", "-", "--model", trained)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert "nothing is piped" in cli.fails(2, "predict", "-", "--model", trained)


@pytest.mark.parametrize("out", ["a.png", "closet/b.JPG", "image"])
def test_no_image_is_overwritten_by_answers(cli, trained, small, out):
    Path("closet").mkdir()
    image = Image.fromarray(small.test.images[0])
    image.save("a.png")
    image.save("image", "PNG")
    before = Path("image").read_bytes()
    line = cli.fails(2, "predict", "--model", trained, "a.png", "image", "--out", out)
    assert f"--out {out}: is one of the images, or would be" in line
    assert Path("image").read_bytes() == before


def test_a_name_longer_than_names_can_be_is_skipped(cli, trained, small):
    Image.fromarray(small.test.images[0]).save("a.png")
    name = "x" * 5000
    code, out, err = cli("predict", "--model", trained, name, "a.png", "--json")
    assert code == 1
    assert [p["source"] for p in json.loads(out)["predictions"]] == [name, "a.png"]
    assert "no name of a file (File name too long)" in err
    assert len(err) < 1000
