"""Color images: training, the model folder, predictions, evaluation and explanations."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn import Classifier
from fashioncnn.cli import main
from fashioncnn.models.trained_model import load_model

QUICK = ["--epochs", "25", "--batch-size", "8", "--device", "cpu", "--threads", "1"]
NETWORKS = {
    "fashion_cnn": [
        "baseline",
        "--set",
        "data.scaling=standard",
        "model.channels=[4, 8]",
        "optimizer.learning_rate=0.005",
    ],
    "batchnorm_cnn": ["fast93", "--set", "model.channels=[4, 8]"],
    "residual_cnn": [
        "fast94",
        "--set",
        "model.channels=[4, 8]",
        "model.blocks=[0, 1]",
        "model.flip_equivariant=true",
    ],
}
AUGMENTATIONS = ("flip=0.5", "shift=1", "blur=0.3", "noise=0.02", "erasing=0.1", "contrast=0.2")


def run(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


def square(red, green, blue, seed):
    noise = np.random.default_rng(seed).integers(0, 60, (40, 40, 3))
    return Image.fromarray((np.array([red, green, blue]) + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Return a folder of red and green squares of the same luma."""
    for name, color in (("red", (180, 20, 60)), ("green", (20, 101, 60))):
        (tmp_path / "colors" / name).mkdir(parents=True)
        for seed in range(16):
            square(*color, seed).save(tmp_path / "colors" / name / f"{seed}.png")
    return tmp_path / "colors"


@pytest.mark.parametrize("name", NETWORKS)
def test_color_distinguishes_what_gray_does_not(name, folder, capsys):
    recipe, *settings = NETWORKS[name]
    augmentations = [f"augmentation.{value}" for value in AUGMENTATIONS]
    options = ["--data", folder, "--image-size", "16", "--channels", "3", *QUICK, *settings]
    run("train", recipe, *options, *augmentations, "--out", "r")
    model = load_model(Path("r"))
    assert model.spec.preprocessing.input_shape == (16, 16, 3)
    assert json.loads(Path("r/model/config.json").read_text())["preprocessing"]["channels"] == 3
    assert "color (RGB), 16×16" in Path("r/model/README.md").read_text()
    capsys.readouterr()
    run("evaluate", "r", "--json")
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1
    red = next((folder / "red").iterdir())
    run("predict", red, "--model", "r", "--json", "--explain", "maps", "--save-views", "views")
    (prediction,) = json.loads(capsys.readouterr().out)["predictions"]
    assert prediction["top"][0]["name"] == "red"
    with Image.open(next(Path("views").iterdir())) as saved:
        assert (saved.mode, saved.size) == ("RGB", (16, 16))
    classifier = Classifier.load("r")
    with Image.open(red) as image:
        array = np.asarray(image)
    np.testing.assert_array_equal(
        classifier.predict_proba(red), classifier.predict_proba(array[None])
    )


@pytest.mark.parametrize(
    ("data", "setting", "message"),
    [
        ("sketches", [], "channels = 3: the images of sketches are grayscale"),
        (None, ["--set", "data.views=photo"], "data.views = 'photo': grayscale only"),
        (None, ["--set", "augmentation.photograph=0.5"], "only for grayscale images"),
    ],
)
def test_what_has_no_color_is_rejected(data, setting, message, folder, capsys):
    arguments = ["train", "--data", data or str(folder), "--channels", "3", *setting]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
