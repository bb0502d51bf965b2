import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn.inference.predictor import Predictor
from fashioncnn.models.trained_model import load_model
from fashioncnn.runs import RunFolder

from ..idx import write_idx
from .conftest import PLACE, QUICK


def contents(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*.*")}


def test_metrics_equal_those_of_training(cli, trained):
    stored = json.loads(Path(trained, "metrics.json").read_text())
    assert cli.json("evaluate", trained) == stored["test"]


def test_tables_show_summary_and_metrics(cli, trained):
    out = cli.ok("evaluate", trained)
    for text in ("Best test accuracy", "selected on the test split", "Wilson", "Hardest:"):
        assert text in out


def test_a_model_folder_equals_its_run(cli, trained, idx_folder):
    metrics = cli.json("evaluate", trained)
    assert cli.json("evaluate", Path(trained, "model")) == metrics
    shutil.copytree(Path(trained, "model"), "alone")
    of_folder = cli.json("evaluate", "alone", "--data", idx_folder)
    assert {key: of_folder[key] for key in metrics} == metrics
    assert "folder of this data with --data" in cli.fails(2, "evaluate", "alone")


def test_accuracy_below_the_minimum_is_exit_code_3(cli, trained):
    code, out, err = cli("evaluate", trained, "--min-accuracy", "1", "--json")
    assert code == 3
    assert json.loads(out)["n"] == 100
    assert "is below --min-accuracy 1" in err
    assert cli("evaluate", trained, "--min-accuracy", "0")[0] == 0


@pytest.mark.parametrize("value", ["92", "-0.1", "nan"])
def test_invalid_minimum_accuracies_are_rejected(cli, value):
    assert f"--min-accuracy {value}: should be" in cli.fails(
        2, "evaluate", "run", "--min-accuracy", value
    )


def test_evaluating_the_test_split_later_updates_the_run(cli, idx_folder):
    cli.ok("train", "honest", *QUICK, "--data", idx_folder, "--out", "r")
    stored = json.loads(Path("r/metrics.json").read_text())
    assert stored["test"] is None
    metrics = cli.json("evaluate", "r")
    stored = json.loads(Path("r/metrics.json").read_text())
    assert stored["test"] == metrics
    assert stored["validation"]["n"] == 50
    assert cli.json("evaluate", "r", "--split", "validation") == stored["validation"]
    assert "test accuracy" in Path("r/report.html").read_text()
    assert "| test | 100 |" in Path("r/model/README.md").read_text()


def test_interrupted_update_of_a_run_is_repeated(cli, idx_folder, monkeypatch):
    """The process was killed after it wrote the metrics, before the report."""
    cli.ok("train", *QUICK, "--no-track-test", "--data", idx_folder, "--out", "r")
    report = "fashioncnn.reporting.report.write_run_report"
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(report, lambda run, splits: 1 / 0)
        cli("evaluate", "r")
    assert not Path("r/report.html").exists()
    cli.ok("evaluate", "r")
    assert "test accuracy" in Path("r/report.html").read_text()


def test_other_data_of_the_same_name_leaves_the_run_as_it_is(cli, trained, idx_folder):
    other = Path("elsewhere", idx_folder.name)
    other.mkdir(parents=True)
    for kind in ("images-idx3", "labels-idx1"):
        content = (idx_folder / f"train-{kind}-ubyte").read_bytes()
        for prefix in ("train", "t10k"):
            (other / f"{prefix}-{kind}-ubyte").write_bytes(content)
    before = contents(trained)
    metrics = cli.json("evaluate", trained, "--data", other)
    assert (metrics["n"], metrics["dataset"]) == (300, "own")
    assert contents(trained) == before


def test_tta_leaves_the_run_as_it_is(cli, trained):
    before = contents(trained)
    assert cli.json("evaluate", trained, "--tta", "flip")["tta"] == "flip"
    assert contents(trained) == before


def test_bf16_runs_are_evaluated_in_bf16(cli, idx_folder):
    arguments = [*QUICK, "--data", idx_folder, "--validation", "60", "--precision", "bf16"]
    cli.ok("train", *arguments, "--out", "r")
    before = contents("r")
    cli.ok("evaluate", "r")
    assert contents("r") == before


def test_runs_without_a_model_are_rejected(cli, trained):
    assert "no such run or model" in cli.fails(2, "evaluate", "nowhere")
    shutil.rmtree(Path(trained, "model"))
    assert "no model yet" in cli.fails(2, "evaluate", trained)


def test_damaged_weights_are_rejected(cli, trained):
    path = Path(trained, "model", "model.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "damaged" in cli.fails(1, "evaluate", trained)


def test_a_split_that_does_not_exist_is_rejected(cli, trained):
    message = cli.fails(1, "evaluate", trained, "--split", "validation")
    assert f"{trained}: no validation split to evaluate on" in message


def test_a_locked_run_is_rejected(cli, trained):
    with RunFolder(Path(trained)).lock():
        assert "run: another process is" in cli.fails(1, "evaluate", trained)
    cli.ok("evaluate", trained)


def test_other_data_may_be_too_small_for_a_validation_split(cli, idx_folder, small):
    cli.ok("train", *QUICK, "--data", idx_folder, "--validation", "60", "--out", "r")
    write_idx(idx_folder / "train-images-idx3-ubyte", small.train.images[:40])
    write_idx(idx_folder / "train-labels-idx1-ubyte", small.train.labels[:40])
    data = "--data", idx_folder
    assert cli.json("evaluate", "r", *data)["split"] == "test"
    assert "no validation split" in cli.fails(1, "evaluate", "r", *data, "--split", "validation")


def test_a_bundled_model_is_found_inside_a_run_folder(cli, trained, idx_folder, monkeypatch):
    monkeypatch.chdir(trained)
    assert cli.json("evaluate", "accurate", "--data", idx_folder)["parameters"] > 100_000


def test_model_card_keeps_the_teachers(cli, idx_folder, trained):
    teacher = "--set", f"distillation.teachers={trained}"
    cli.ok("train", *QUICK, "--no-track-test", *teacher, "--data", idx_folder, "--out", "r")
    card, sha256 = Path("r/model/README.md"), load_model(Path(trained)).sha256
    assert sha256 in card.read_text()
    assert "| test |" not in card.read_text()
    cli.ok("evaluate", "r")
    assert sha256 in card.read_text()
    assert "| test |" in card.read_text()


def fill(folder, classes, n):
    """Write `n` images of 28×28 into a folder per class."""
    for level, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            Image.new("L", (28, 28), 10 + 40 * level + i).save(folder / name / f"{i}.png")


@pytest.fixture
def animals(cli, tmp_path):
    """Return a run that was trained on folders of twelve classes, and the folder."""
    folder = tmp_path / "animals"
    fill(folder, [str(i) for i in range(12)], 6)
    cli.ok("train", *QUICK, "--data", folder, "--out", "animals")
    return "animals", folder


def test_all_images_of_other_folders_are_evaluated(cli, animals, tmp_path):
    other = tmp_path / "other"
    fill(other, ["2", "10", "11"], 10)
    metrics = cli.json("evaluate", animals[0], "--data", other)
    assert (metrics["n"], metrics["dataset"]) == (30, "other")
    assert [c["name"] for c in metrics["per_class"] if c["n"]] == ["2", "10", "11"]


def test_own_training_images_are_never_evaluated(cli, animals, tmp_path):
    run, folder = animals
    stored = cli.json("evaluate", run)
    assert stored["n"] == 12
    moved = folder.rename(tmp_path / "moved")
    code, out, err = cli("evaluate", run, "--data", moved, "--json")
    assert code == 0
    assert (json.loads(out)["n"], json.loads(out)["accuracy"]) == (12, stored["accuracy"])
    assert "animals was trained on it; only its test split is evaluated (12 of 72 images)" in err


def test_possible_training_images_of_a_model_are_reported(cli, animals):
    run, folder = animals
    shutil.copytree(Path(run, "model"), "alone")
    _, _, err = cli("evaluate", "alone", "--data", folder)
    assert "all 72 images are evaluated; if the model was trained on some of them" in err


def test_folder_with_only_a_test_split_is_evaluated(cli, animals, tmp_path):
    fill(tmp_path / "other" / "test_set", ["0", "1"], 4)
    assert cli.json("evaluate", animals[0], "--data", tmp_path / "other")["n"] == 8
    message = cli.fails(1, "train", *QUICK, "--data", tmp_path / "other")
    assert "other: no training split, only test; add one" in message


def test_unknown_class_is_mapped_or_outside(cli, animals, tmp_path):
    other = tmp_path / "other"
    fill(other, ["2", "ten", "cow"], 10)
    arguments = ("evaluate", animals[0], "--data", other)
    message = cli.fails(1, *arguments)
    assert "classes 'cow', 'ten' are not among the model's (0, 1, 2 …); map each to one" in message
    assert message.endswith("of them with --map 'cow=CLASS' --map 'ten=CLASS'")
    message = cli.fails(1, *arguments, "--map", "ten=10")
    assert "class 'cow' is not one of the model's (0, 1, 2 …); map it to one of them" in message
    assert message.endswith("with --map 'cow=CLASS'")
    metrics = cli.json(*arguments, "--map", "ten=10", "--map", "cow=")
    assert [(c["name"], c["n"]) for c in metrics["per_class"] if c["n"]] == [("2", 10), ("10", 10)]
    assert metrics["outside"]["n"] == 10
    every = ",".join(str(i) for i in range(12))
    metrics = cli.json(*arguments, "--map", f"ten={every}", "--map", "cow=", "--map", "2=2,3")
    assert (metrics["n"], metrics["partial_labels"]) == (20, 20)
    of_ten = [c["n"] - c["errors"] for c in metrics["per_class"]]
    assert sum(of_ten) >= 10  # every answer for "ten" is correct
    assert "--map ten: should be NAME=CLASS" in cli.fails(2, *arguments, "--map", "ten")
    assert "map dog: " in cli.fails(2, *arguments, "--map", "dog=2")


def test_map_of_a_toml_file_is_that_of_the_command_line(cli, animals, tmp_path):
    other = tmp_path / "other"
    fill(other, ["2", "ten", "cow"], 6)
    arguments = ("evaluate", animals[0], "--data", other)
    Path("map.toml").write_text("[data.map]\nten = ['10', '3']\ncow = []\n")
    given = cli.json(*arguments, "--map", "ten=10,3", "--map", "cow=")
    assert cli.json(*arguments, "--map", "map.toml") == given
    Path("none.toml").write_text("recipe = 'x'\n")
    assert "has no table [data.map]" in cli.fails(2, *arguments, "--map", "none.toml")


def test_page_shows_metrics_and_mistakes(cli, animals, tmp_path):
    other = tmp_path / "other"
    fill(other, ["2", "10", "cow"], 10)
    arguments = ("evaluate", animals[0], "--data", other, "--map", "cow=", "--page", "page.html")
    out = cli.ok(*arguments)
    assert "Accuracy against coverage" in out
    assert "Outside of the classes: 10 images" in out
    page = Path("page.html").read_text()
    for text in ("Accuracy against coverage", "Most confident predictions outside", "Coverage"):
        assert text in page
    assert page.count('<img src="data:image/png') >= 10


def test_validation_split_of_the_source_is_used(cli, tmp_path):
    folder = tmp_path / "animals"
    fill(folder / "train", ["ant", "bee"], 20)
    fill(folder / "val", ["ant", "bee"], 7)
    cli.ok("train", *QUICK, "--no-track-test", "--data", folder, "--out", "r")
    metrics = json.loads(Path("r/metrics.json").read_text())
    assert metrics["validation"]["n"] == 14
    assert cli.json("evaluate", "r", "--split", "validation") == metrics["validation"]
    environment = json.loads(Path("r/environment.json").read_text())
    assert list(environment["data"]["sha256"]) == ["train", "validation"]
    assert "validation = 14" in Path("r/config.toml").read_text()
    message = cli.fails(
        2, "train", *QUICK, "--no-track-test", "--data", folder, "--validation", "0.5"
    )
    assert "has a validation split of 14 images, which is used; remove the setting" in message


def test_resuming_with_another_validation_split_is_rejected(cli, tmp_path):
    folder = tmp_path / "animals"
    fill(folder / "train", ["ant", "bee"], 20)
    fill(folder / "val", ["ant", "bee"], 7)
    cli.ok("train", *QUICK, "--no-track-test", "--data", folder, "--out", "r")
    cli.ok("train", "--resume", "r", "--epochs", "3")
    Image.new("L", (28, 28), 77).save(folder / "val" / "ant" / "0.png")
    message = cli.fails(1, "train", "--resume", "r", "--epochs", "4")
    assert "the run was started with other training data" in message


def test_broken_files_are_listed_and_skipped(cli, tmp_path):
    folder = tmp_path / "animals"
    fill(folder, ["ant", "bee"], 12)
    broken = [folder / "ant" / "3.png", folder / "bee" / "5.png", folder / "bee" / "7.png"]
    for path in broken:
        path.write_bytes(b"broken")
    train = ("train", *QUICK, "--data", folder, "--out", "r")
    for command in (train, ("data", folder)):
        code, _, err = cli(*command)
        assert code == 1
        assert [path for path in broken if f"{path}: not a" in err] == broken
        assert err.splitlines()[-1].endswith(
            "3 image files cannot be read; repair or remove them, or skip them with --skip-broken"
        )
    cli.ok(*train, "--skip-broken")
    n = sum(s["n"] for s in cli.json("data", folder, "--skip-broken")["splits"].values())
    assert n == 21
    assert cli.json("evaluate", "r")["n"] == 3
    cli.ok("train", "--resume", "r", "--epochs", "3")
    data = ("--data", folder)
    assert "1 more" not in cli.fails(1, "evaluate", "r", *data)
    assert cli.json("evaluate", "r", *data, "--skip-broken")["n"] == 3


def test_validation_as_a_fraction_is_resolved_to_images(cli, idx_folder):
    cli.ok("train", *QUICK, "--data", idx_folder, "--validation", "0.2", "--out", "r")
    assert json.loads(Path("r/metrics.json").read_text())["validation"]["n"] == 60
    assert "validation = 60" in Path("r/config.toml").read_text()
    for value in ("1.5", "-0.1", "0.0", "1.0", "half"):
        message = cli.fails(2, "train", *QUICK, "--data", idx_folder, "--validation", value)
        assert f"--validation {value}: should be" in message


def test_official_test_split_beside_other_training_images_is_reported(
    cli, idx_folder, small, monkeypatch
):
    cli.ok("train", *QUICK, "--data", idx_folder, "--out", "r")
    monkeypatch.setattr("fashioncnn.data.dataset.OFFICIAL_SPLITS", small.hashes)
    write_idx(idx_folder / "train-images-idx3-ubyte", 255 - small.train.images)
    metrics = cli.json("evaluate", "r", "--data", idx_folder)
    assert (metrics["dataset"], metrics["n"]) == ("fashion-mnist", 100)


def test_kaggle_table_is_trained_on_and_evaluated(cli, tmp_path, small):
    header = ",".join(["label", *(f"pixel{i}" for i in range(1, 785))])
    rows = np.column_stack([small.train.labels, small.train.images.reshape(-1, 784)])
    lines = [header, *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    cli.ok("train", *QUICK, "--data", tmp_path / "a.csv", "--out", "r")
    assert cli.json("evaluate", "r")["n"] == 50
    assert cli.json("evaluate", "r", "--data", tmp_path / "a.csv")["n"] == 50


def test_images_are_predicted_once(cli, animals, tmp_path, monkeypatch):
    """Also for accuracy against coverage and the page: thousands of photographs take minutes."""
    fill(tmp_path / "other", ["2", "10", "cow"], 10)
    predict, calls = Predictor.predict_views, []
    monkeypatch.setattr(
        Predictor,
        "predict_views",
        lambda self, views: calls.append(len(views)) or predict(self, views),
    )
    options = "--map", "cow=", "--map", "10=10,3", "--tta", "flip", "--page", "page.html"
    metrics = cli.json("evaluate", animals[0], "--data", tmp_path / "other", *options)
    assert calls == [30]
    assert [row["names"] for row in metrics["per_label_set"]] == [["2"], ["3", "10"]]
    page = Path("page.html").read_text()
    assert "3 or 10" in page
    assert "An image with several correct classes counts in the row of the most probable" in page


def test_page_shows_loss_and_calibration_at_the_temperature_of_predictions(cli, animals, tmp_path):
    fill(tmp_path / "other", ["2", "10"], 10)
    arguments = "evaluate", "photo-zero-shot", "--data", tmp_path / "other", "--page", "page.html"
    maps = "--map", "2=Bag", "--map", "10=Coat"
    calibrated = cli.json(*arguments, *maps)["calibrated"]
    page = Path("page.html").read_text()
    for key, name in (("loss", "cross-entropy loss"), ("ece", r"calibration error \(ECE\)")):
        card = rf"<b>{calibrated[key]:.4f}</b><span>{name}, at temperature 0.72</span>"
        assert re.search(card, page)


def test_page_never_replaces_another_file(cli, animals, tmp_path):
    (tmp_path / "index.html").write_text("<html>mine</html>")
    (tmp_path / "data.csv").write_text("mine")
    for name, message in (
        ("index.html", "index.html: exists and is no report of fashioncnn; move it, or name"),
        ("data.csv", "data.csv: should end in .html"),
        ("no/page.html", "page.html: folder .*no does not exist; create it"),
    ):
        line = cli.fails(2, "evaluate", animals[0], "--page", tmp_path / name)
        assert re.search(message, line)
    assert (tmp_path / "index.html").read_text() == "<html>mine</html>"
    assert (tmp_path / "data.csv").read_text() == "mine"
    cli.ok("evaluate", animals[0], "--page", tmp_path / "page.html")
    cli.ok("evaluate", animals[0], "--page", tmp_path / "page.html")


def test_map_of_a_file_may_have_classes_that_the_data_lacks(cli, animals, tmp_path):
    """As the map of the recipe photo for a closet without hats; of names, each has to exist."""
    other = tmp_path / "other"
    fill(other, ["2", "ten"], 6)
    Path("map.toml").write_text("[data.map]\nten = ['10']\ncow = []\ndog = ['1']\n")
    arguments = ("evaluate", animals[0], "--data", other, "--map", "map.toml")
    code, out, err = cli(*arguments, "--json")
    assert (code, json.loads(out)["n"]) == (0, 12)
    assert "other: has no class cow, dog, which --map names" in err
    assert "map cow: " in cli.fails(2, *arguments, "--map", "cow=2")


@pytest.mark.parametrize("file_first", [True, False])
def test_assignment_of_map_replaces_that_of_a_file(cli, animals, tmp_path, file_first):
    other = tmp_path / "other"
    fill(other, ["2", "ten"], 6)
    Path("map.toml").write_text("[data.map]\nten = ['10']\n")
    options = [("--map", "map.toml"), ("--map", "ten=3")][:: 1 if file_first else -1]
    given = (option for pair in options for option in pair)
    metrics = cli.json("evaluate", animals[0], "--data", other, *given)
    assert [(c["name"], c["n"]) for c in metrics["per_class"] if c["n"]] == [("2", 6), ("3", 6)]


def test_map_extends_that_of_the_run(cli, animals, tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    fill(own, ["two", "three", "cow"], 12)
    options = [f"--map={text}" for text in ("two=2", "three=3", "cow=")]
    place = (*PLACE, "--epochs", "1")
    cli.ok("train", *place, "--from", animals[0], "--data", own, *options, "--out", "r")
    fill(other, ["two", "dog"], 6)  # without classes of the run's map
    evaluate = ("evaluate", "r", "--data", other)
    assert "class 'dog' is not one of the model's" in cli.fails(1, *evaluate)
    metrics = cli.json(*evaluate, "--map", "dog=")
    assert (metrics["n"], metrics["outside"]["n"]) == (6, 6)
    metrics = cli.json(*evaluate, "--map", "dog=1", "--map", "two=4,5")
    assert (metrics["n"], metrics["partial_labels"]) == (12, 6)
    (other / "dog").rename(tmp_path / "dog")
    assert cli.json(*evaluate)["n"] == 6


def test_page_names_the_files_of_mistakes(cli, animals, tmp_path):
    other = tmp_path / "other"
    fill(other, ["2", "10", "cow"], 10)
    (other / "cow" / "3.png").rename(other / "cow" / "<i>\udcff.png")
    (other / "2" / "old").mkdir()
    (other / "2" / "4.png").rename(other / "2" / "old" / "4.png")
    (other / "10" / "5.png").write_bytes(b"broken")
    arguments = ("evaluate", animals[0], "--data", other, "--map", "cow=", "--skip-broken")
    cli.ok(*arguments, "--page", "page.html")
    shown = re.findall(r'<span class="file">(.*?)</span>', Path("page.html").read_text())
    assert "cow/&lt;i&gt;\N{REPLACEMENT CHARACTER}.png" in shown
    outside = {f"cow/{i}.png" for i in range(10)}
    assert len(outside & set(shown)) == 9
    inside = {
        *(f"2/{i}.png" for i in range(10)),
        "2/old/4.png",
        *(f"10/{i}.png" for i in range(10)),
    }
    mistakes = [name for name in shown if not name.startswith("cow/")]
    assert set(mistakes) <= inside - {"2/4.png", "10/5.png"}
    metrics = cli.json(*arguments)
    assert len(mistakes) == sum(c["errors"] for c in metrics["per_class"]) > 0


def test_folder_of_one_class_is_evaluated(cli, animals, tmp_path):
    fill(tmp_path / "closet", ["10"], 5)
    for model in (animals[0], "accurate"):
        mapping = () if model == animals[0] else ("--map", "10=Bag")
        metrics = cli.json("evaluate", model, "--data", tmp_path / "closet", *mapping)
        assert [c["n"] for c in metrics["per_class"] if c["n"]] == [5]


def test_data_without_an_image_of_the_classes_is_rejected(cli, animals, tmp_path):
    fill(tmp_path / "closet", ["cow", "dog"], 5)
    data = ("--data", tmp_path / "closet", "--map", "cow=", "--map", "dog=")
    message = cli.fails(1, "evaluate", animals[0], *data)
    assert (
        "closet: no image of the test split belongs to a class of the model; map at least one"
        in message
    )
