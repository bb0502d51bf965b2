import csv
import io
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn.models.trained_model import load_model, save_model
from fashioncnn.reporting.predictions import FORMATS

from ..idx import write_idx
from .conftest import stored_labels, top_labels

RECORD_KEYS = ["source", "top", "confidence", "abstained", "several_garments", "error"]


@pytest.fixture
def fashion_model(trained):
    """The model of a run as if it had been trained on Fashion-MNIST."""
    model = load_model(Path(trained))
    preprocessing = replace(model.spec.preprocessing, views="fashion")
    spec = model.spec.replace(preprocessing=preprocessing, dataset="fashion-mnist")
    save_model(replace(model, spec=spec), Path("fm"), "")
    return "fm"


def test_json_has_the_documented_keys(cli, trained, images):
    document = cli.json("predict", images, "--model", trained)
    assert list(document) == ["schema", "model", "predictions"]
    assert [p["source"] for p in document["predictions"]] == [f"images/{i}.png" for i in range(3)]
    for prediction in document["predictions"]:
        assert list(prediction) == RECORD_KEYS
        assert len(prediction["top"]) == 3
        assert list(prediction["top"][0]) == ["code", "name", "probability"]
        probabilities = [c["probability"] for c in prediction["top"]]
        assert probabilities == sorted(probabilities, reverse=True)


def test_predictions_equal_those_of_the_evaluation(cli, trained, images):
    document = cli.json("predict", images, "--model", trained, "--top", "10")
    assert top_labels(document) == stored_labels(trained, [0, 1, 2])
    assert sum(c["probability"] for c in document["predictions"][0]["top"]) == pytest.approx(1)


def test_table_has_a_row_per_image(cli, trained, images):
    out = cli.ok("predict", images, "--model", trained)
    assert all(f"images/{i}.png" in out for i in range(3))


def test_views_decide_the_model_input(cli, fashion_model):
    """A dark square on the left of a light image: whole, stretched, cropped or segmented."""
    pixels = np.full((60, 120, 3), 240, np.uint8)
    pixels[15:45, 6:36] = (30, 30, 90)
    Image.fromarray(pixels).save("square.png")
    lit = {}
    for views in ("auto", "photo", "cutout", "fashion", "pad", "stretch", "crop"):
        options = ["--model", fashion_model, "--views", views, "--save-views", views]
        cli.ok("predict", "square.png", *options)
        (path,) = Path(views).iterdir()
        lit[views] = (np.asarray(Image.open(path)) > 128)[:, :28].mean()
    assert lit["auto"] == lit["fashion"] > 0.9
    assert lit["cutout"] > 0.7  # its edge is soft
    assert lit["pad"] == pytest.approx(30 * 30 / 120**2, abs=0.02)
    assert lit["stretch"] == pytest.approx(2 * lit["pad"], abs=0.02)
    assert lit["crop"] == pytest.approx(6 * 30 / 60**2, abs=0.03)


def test_views_of_a_model_with_plain_views_cannot_be_changed(cli, trained, images):
    message = cli.fails(2, "predict", images, "--model", trained, "--views", "pad")
    assert message == (
        "fashioncnn: --views pad: the model was trained on own data with plain views, which cannot "
        "be changed; remove --views"
    )


def test_model_abstains_below_the_threshold(cli, trained, images):
    command = ("predict", images, "--model", trained)
    highest = [p["top"][0]["probability"] for p in cli.json(*command)["predictions"]]
    threshold = sorted(highest)[1]  # one of the three is below it
    predictions = cli.json(*command, "--abstain-below", repr(threshold))["predictions"]
    assert [p["abstained"] for p in predictions] == [value < threshold for value in highest]
    assert [p["confidence"] for p in predictions] == highest
    _, out, err = cli(*command, "--abstain-below", "1")
    assert out.count("abstained (") == 3
    assert "abstained on 3 of 3 images" in err
    _, out, err = cli(*command)
    assert "abstained" not in out + err


def test_bundled_models_are_the_default(cli, trained, images, small, monkeypatch):
    models = {"photo": Path(trained, "model"), "accurate": Path(trained, "model")}
    monkeypatch.setattr("fashioncnn.artifacts.model_folder.bundled_models", lambda: models)
    write_idx(Path("idx"), small.test.images[:2])
    assert cli.json("predict", images)["model"] == "photo"
    assert cli.json("predict", "idx")["model"] == "accurate"
    assert cli.json("predict", "idx", images)["model"] == "photo"
    assert cli.json("predict", images, "--model", trained)["model"] == trained


def test_photographs_are_warned_of_if_the_model_is_for_fashion_mnist_only(
    cli, trained, fashion_model, images
):
    Image.new("RGB", (60, 40), "white").save("photograph.jpg")

    def is_warned_of(*arguments):
        code, _, err = cli("predict", *arguments)
        assert code == 0, err
        return f"{fashion_model} was trained on Fashion-MNIST only" in err

    assert is_warned_of("photograph.jpg", images, "--model", fashion_model)
    assert not is_warned_of(images, "--model", fashion_model)
    assert not is_warned_of("photograph.jpg", "--model", trained)


def test_all_formats_have_the_same_predictions(cli, trained, images):
    Path(images, "1.png").write_bytes(b"broken")
    base = ["predict", images, "--model", trained, "--top", "99"]
    _, document, _ = cli(*base, "--json")
    predictions = json.loads(document)["predictions"]
    _, lines, _ = cli(*base, "--format", "jsonl")
    assert [json.loads(line) for line in lines.splitlines()] == predictions
    _, table, _ = cli(*base, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["source"] for row in rows] == [p["source"] for p in predictions]
    assert "name_10" in rows[0]
    assert "name_11" not in rows[0]
    assert rows[0]["name_1"] == predictions[0]["top"][0]["name"]
    assert rows[1]["error"] == predictions[1]["error"]


@pytest.mark.parametrize("name", ["p.csv", "p.json", "p.jsonl", "p.txt"])
def test_out_file_equals_what_is_printed(cli, trained, images, name):
    format_name = {"p.txt": "table"}.get(name, name[2:])
    printed = cli.ok("predict", images, "--model", trained, "--format", format_name)
    code, out, err = cli("predict", images, "--model", trained, "--out", name)
    assert (code, out) == (0, "")
    assert f"wrote {name}: 3 images" in err
    assert Path(name).read_text() == printed
    assert list(Path().glob(".p*")) == []


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_signals_leave_the_old_out_file(cli, trained, images, monkeypatch, number, code, message):
    Path("p.csv").write_text("before")
    files = sorted(Path().iterdir())

    def write_and_receive(*_):
        yield "half of the predictions"
        signal.raise_signal(number)

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setitem(FORMATS, "csv", write_and_receive)
    result = cli("predict", images, "--model", trained, "--out", "p.csv")
    signal.signal(signal.SIGINT, previous)
    assert result == (code, "", f"fashioncnn: {message}\n")
    assert sorted(Path().iterdir()) == files
    assert Path("p.csv").read_text() == "before"


def test_saved_views_give_the_same_predictions(cli, trained, images):
    Image.new("RGB", (90, 60), "white").save("images/white.jpg")
    Path(images, "1.png").write_bytes(b"broken")
    base = ["--model", trained, "--json"]
    _, out, _ = cli("predict", images, *base, "--save-views", "views/here", "--explain", "maps")
    names = ["000001-0.png", "000003-2.png", "000004-white.png"]
    assert sorted(p.name for p in Path("views/here").iterdir()) == names
    assert sorted(p.name for p in Path("maps").iterdir()) == names
    first = [p["top"] for p in json.loads(out)["predictions"] if not p["error"]]
    again = cli.json("predict", "views/here", "--model", trained)["predictions"]
    assert [p["top"] for p in again] == first
    with Image.open("maps/000001-0.png") as drawn:
        assert drawn.width > 2 * 28


@pytest.mark.parametrize("option", ["--save-views", "--explain"])
def test_interrupted_image_is_not_left_behind(cli, trained, images, monkeypatch, option):
    def interrupt(self, file, *arguments):
        opened = open(file, "wb") if isinstance(file, str | Path) else file  # noqa: SIM115, PTH123
        opened.write(b"half an image")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupt)
    code, _, _ = cli("predict", images, "--model", trained, option, "drawn")
    assert code == 130
    assert list(Path("drawn").iterdir()) == []


def test_temporary_files_of_a_killed_process_are_removed(cli, trained, images):
    Path("maps").mkdir()
    leftovers = [Path(".a.csv.0123abcd.tmp"), Path("maps/.000001-0.png.0123abcd.tmp")]
    for path in leftovers:
        path.write_bytes(b"half a file")
    cli.ok("predict", images, "--model", trained, "--explain", "maps", "--out", "a.csv")
    assert not any(path.exists() for path in leftovers)


def test_progress_is_shown_on_a_terminal_only(cli, trained, images, monkeypatch):
    command = ["predict", images, "--model", trained, "--out", "a.csv"]
    assert "predicting" not in cli(*command)[2]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    _, _, err = cli(*command)
    assert "predicting" in err
    assert "3/3" in err


@pytest.mark.parametrize("module", ["matplotlib", "jinja2", "scipy"])
def test_prediction_needs_no_packages_for_training(cli, trained, images, monkeypatch, module):
    find_spec = "importlib.util.find_spec"
    monkeypatch.setattr(find_spec, lambda name: None if name == module else object())
    cli.ok("predict", images, "--model", trained)
    assert f"{module} is not installed" in cli.fails(1, "train", "--data", "sketches")


def test_prediction_runs_without_packages_for_training(trained, images):
    code = (
        "import sys\n"
        "for name in ('matplotlib', 'jinja2', 'scipy', 'optuna'): sys.modules[name] = None\n"
        "from fashioncnn.cli import main\n"
        f"sys.exit(main(['predict', {images!r}, '--model', {trained!r}, '--explain', 'maps']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "images/2.png" in done.stdout


def test_prediction_without_torch_names_the_install_command(cli, images, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install '.[train]'" in cli.fails(1, "predict", images, "--backend", "torch")
