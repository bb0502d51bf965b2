"""``fashioncnn train --from``: trainings that start with the weights of another model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fashioncnn.models.trained_model import load_model
from fashioncnn.runs import RunFolder

from ..data.test_class_folders import fill
from ..idx import write_idx
from .conftest import PLACE, QUICK


def test_from_starts_with_the_weights_of_another_run(cli, idx_folder, trained):
    almost_constant = "--learning-rate", "1e-12"
    arguments = [*PLACE, "--epochs", "2", "--data", idx_folder, *almost_constant]
    cli.ok("train", "baseline", *arguments, "--from", trained, "--out", "r")
    old, new = load_model(Path(trained)), load_model(Path("r"))
    assert new.spec.architecture == old.spec.architecture
    difference = (new.network.output.weight - old.network.output.weight).abs().max()
    assert 0 <= difference < 1e-6


class KilledError(BaseException):
    """Stands for a kill of the process."""


def raise_killed(*_):
    raise KilledError


def test_run_from_weights_that_was_killed_at_its_start_resumes_from_them(
    cli, idx_folder, trained, monkeypatch
):
    arguments = [*PLACE, "--epochs", "1", "--data", idx_folder, "--from", trained]
    cli.ok("train", *arguments, "--out", "whole")
    with monkeypatch.context() as patch:
        patch.setattr("fashioncnn.cli.train_run.train_run", raise_killed)
        with pytest.raises(KilledError):
            cli("train", *arguments, "--out", "r")
    cli.ok("train", "--resume", "r")
    assert load_model(Path("r")).sha256 == load_model(Path("whole")).sha256


@pytest.mark.parametrize("setting", ["model.hidden=3", "data.scaling=unit", "data.views=photo"])
@pytest.mark.parametrize("origin", ["--set", "--config", "environment"])
def test_from_rejects_settings_that_the_weights_decide(cli, trained, monkeypatch, setting, origin):
    key, value = setting.split("=")
    arguments = ["train", "--data", "sketches", "--from", trained]
    if origin == "environment":
        monkeypatch.setenv(f"FASHIONCNN_{key.upper().replace('.', '__')}", value)
    elif origin == "--config":
        section, name = key.split(".")
        text = value if value.isdigit() else f"'{value}'"
        Path("c.toml").write_text(f"[{section}]\n{name} = {text}\n")
        arguments += ["--config", "c.toml"]
    else:
        arguments += ["--set", setting]
    assert "--from takes architecture, scaling and views" in cli.fails(2, *arguments)


def test_from_keeps_classes_of_the_same_name_and_adds_others(cli, trained, tmp_path):
    fill(tmp_path / "closet", ["3", "bee"])
    options = "--epochs", "1", "--freeze", "features", "--set", "optimizer.adam_learning_rate=1e-12"
    cli.ok(
        "train", *PLACE, *options, "--data", tmp_path / "closet", "--from", trained, "--out", "r"
    )
    old, new = load_model(Path(trained)), load_model(Path("r"))
    assert new.spec.labels == ("3", "bee")
    kept = old.network.output.weight[old.spec.labels.index("3")]
    assert (new.network.output.weight - torch.stack([kept, kept * 0])).abs().max() < 1e-6
    assert new.network.hidden.weight.equal(old.network.hidden.weight)
    assert (Path("r") / "initial").exists()  # for the cross-validation
    assert new.spec.temperature != 1


@pytest.mark.parametrize("option", [["--freeze", "features"]])
def test_frozen_features_need_weights(cli, option):
    message = cli.fails(2, "train", *QUICK, "--data", "sketches", *option)
    assert "freeze = 'features': only for a training that starts from the weights" in message


def test_channels_with_from_are_rejected(cli, trained):
    message = cli.fails(2, "train", "--data", "sketches", "--from", trained, "--channels", "3")
    assert "--channels: --from takes" in message


def test_map_keeps_the_classes_of_the_model(cli, trained, tmp_path):
    """Several classes and none, images of rehearsal, and evaluation on the data of the run."""
    for level, name in enumerate(("pants", "shoes", "hat")):
        (tmp_path / "closet" / name).mkdir(parents=True)
        for i in range(12):
            Image.new("L", (28, 28), 60 * level + i).save(tmp_path / "closet" / name / f"{i}.png")
    source = RunFolder(Path(trained)).settings().data.source
    maps = ["--map", "pants=1", "--map", "shoes=5,7,9", "--map", "hat="]
    arguments = ["train", *PLACE, "--from", trained, "--data", tmp_path / "closet", *maps]
    rehearsal = ["--set", "data.rehearsal=4", f"data.rehearsal_source={source}"]
    options = ["--epochs", "2", "--set", "data.hold_out_min=0", "--validation", "auto"]
    cli.ok(*arguments, *rehearsal, *options, "--out", "r")
    data = RunFolder(Path("r")).settings().data
    assert data.map == {"pants": ("1",), "shoes": ("5", "7", "9"), "hat": ()}
    assert data.classes == tuple(str(i) for i in range(10))
    metrics = json.loads(Path("r/metrics.json").read_text())
    assert metrics["validation"]["n"] == 3  # of 5, two are hats
    of_test = cli.json("evaluate", "r")
    assert (of_test["n"], of_test["partial_labels"]) == (4, 2)
    assert cli.json("evaluate", "r", "--data", tmp_path / "closet") == of_test
    assert cli.json("evaluate", "r") == of_test
    assert json.loads(Path("r/model/config.json").read_text())["ood_detector"] is not None
    assert "map hot: " in cli.fails(2, *arguments, "--map", "hot=", "--out", "s")
    assert "such class; did you mean" in cli.fails(2, *arguments[:-2], "--map", "hat=11")


@pytest.mark.parametrize("kind", ["npz", "csv", "idx"])
def test_from_takes_data_of_every_kind(cli, tmp_path, small, kind):
    """Of the model, such as `accurate`, are the views; arrays of its size are its input."""
    images, labels = small.train.images[:60], small.train.labels[:60] % 3
    if kind == "npz":
        data = tmp_path / "own.npz"
        np.savez(data, images=images, labels=labels)
    elif kind == "csv":
        data = tmp_path / "own.csv"
        header = ",".join(["label", *(f"pixel{i}" for i in range(1, 785))])
        rows = np.column_stack([labels, images.reshape(60, -1)])
        np.savetxt(data, rows, "%d", ",", header=header, comments="")
    else:
        data = tmp_path / "own"
        data.mkdir()
        write_idx(data / "train-images-idx3-ubyte", images)
        write_idx(data / "train-labels-idx1-ubyte", labels)
    options = [*PLACE, "--epochs", "1", "--freeze", "features", "--validation", "12"]
    cli.ok("train", *options, "--data", data, "--from", "photo-zero-shot", "--out", "r")
    preprocessing = load_model(Path("r")).spec.preprocessing
    assert preprocessing == load_model(Path("photo-zero-shot")).spec.preprocessing
    assert cli.json("evaluate", "r", "--split", "validation")["n"] == 12


@pytest.fixture
def closet(tmp_path):
    """Return a folder of three folders; those of the recipe `photo` and others."""
    for level, name in enumerate(("pants", "shoes", "hat")):
        (tmp_path / "closet" / name).mkdir(parents=True)
        for i in range(6):
            image = Image.new("L", (28, 28), 60 * level + i)
            image.save(tmp_path / "closet" / name / f"{i}.png")
    return tmp_path / "closet"


MAPS = "[data.map]\npants = ['1']\nshoes = ['5', '7']\nhat = []\nskirt = []\ndress = ['3']\n"


def test_map_of_settings_may_have_classes_that_the_data_lacks(cli, trained, closet):
    """As that of the recipe photo, for a closet without skirts."""
    Path("own.toml").write_text(MAPS)
    arguments = ["train", *PLACE, "--epochs", "1", "--from", trained, "--data", closet]
    code, _, err = cli(*arguments, "--config", "own.toml", "--validation", "0", "--out", "r")
    assert code == 0
    assert "closet: has no class skirt, dress, which data.map names" in err
    assert RunFolder(Path("r")).settings().data.classes == tuple(str(i) for i in range(10))
    message = cli.fails(2, *arguments, "--config", "own.toml", "--map", "skirt=3")
    assert "map skirt: " in message
    cli.ok(*arguments, "--map", "own.toml", "--validation", "0", "--out", "s")


def test_unknown_classes_are_reported_before_images_are_decoded(cli, trained, closet):
    """Decoding thousands of photographs takes minutes."""
    (closet / "hat").rename(closet / "cap")
    (closet / "pants").rename(closet / "jeans")
    (closet / "shoes" / "0.png").write_bytes(b"broken")
    Path("own.toml").write_text(MAPS)
    expected = (
        "closet: classes 'cap', 'jeans' are not among the model's (0, 1, 2 …); map each to one of "
        "them with --map 'cap=CLASS' --map 'jeans=CLASS'"
    )
    options = ["--data", closet, "--map", "own.toml"]
    for command in (["train", *PLACE, "--from", trained], ["evaluate", trained]):
        assert expected in cli.fails(1, *command, *options)
        assert "map hot: " in cli.fails(2, *command, *options, "--map", "hot=")
        maps = ["--map", "cap=", "--map", "jeans=1"]
        assert "0.png: not a" in cli.fails(1, *command, *options, *maps)


def test_rehearsal_reads_the_official_files_that_the_environment_names(
    cli, trained, closet, monkeypatch
):
    source = RunFolder(Path(trained)).settings().data.source
    monkeypatch.setenv("FASHIONCNN_DATA", source)
    Path("own.toml").write_text(MAPS)
    arguments = ["train", *PLACE, "--from", trained, "--data", closet, "--offline"]
    arguments += ["--config", "own.toml", "--set", "data.rehearsal=4", "--out", "r"]
    message = cli.fails(1, *arguments)  # other files than the official ones
    assert "Fashion-MNIST is not available: " in message
    assert message.endswith("; set FASHIONCNN_DATA or data.rehearsal_source to its folder")
    monkeypatch.setattr("fashioncnn.data.idx_folders.is_official_file", lambda *_: True)
    message = cli.fails(1, *arguments)  # found, but the model has other names for the classes
    assert "data.rehearsal: fashion-mnist, modified has the classes T-shirt/top" in message


def test_calibration_on_few_images_is_noted(cli, trained, closet):
    arguments = ["train", *PLACE, "--epochs", "1", "--from", trained, "--data", closet]
    arguments += ["--config", "own.toml", "--set", "training.abstain_below=auto"]
    Path("own.toml").write_text(MAPS)
    code, _, err = cli(*arguments, "--validation", "6", "--out", "r")
    assert code == 0
    assert "temperature, confidence and threshold are fitted on 4 images of the validation" in err
    code, _, err = cli(
        *arguments, "training.calibration_folds=3", "--validation", "0", "--out", "s"
    )
    assert code == 0
    assert "fitted on" not in err
    assert json.loads(Path("s/model/config.json").read_text())["ood_detector"] is not None
