"""A fresh environment with the base install, which has no torch, predicts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn.artifacts.model_folder import bundled_models

ROOT = Path(__file__).parents[2]
CANNOT_DOWNLOAD = ("No matching distribution", "connection", "Temporary failure")
"""Signs in messages of pip that the packages are not available here."""

pytestmark = pytest.mark.slow

WITH_ONNX_FILE = [
    name for name, folder in bundled_models().items() if (folder / "model.onnx").exists()
]
"""All but `photo-zero-shot`, whose file would make the wheel too large."""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The folder of the programs of a fresh environment with the base install."""
    folder = tmp_path_factory.mktemp("base") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    arguments = ["install", "--quiet", "-c", ROOT / "constraints.txt", ROOT]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [folder / "bin" / "pip", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode and any(sign in done.stderr for sign in CANNOT_DOWNLOAD):
        pytest.skip(f"pip cannot install the base packages: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture
def run(base, monkeypatch):
    """Return a function that runs a program of the environment and returns its output."""
    monkeypatch.delenv("PYTHONPATH", raising=False)

    def call(program, *arguments):
        done = subprocess.run(
            [base / program, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


@pytest.fixture
def photo():
    pixels = np.full((600, 800, 3), 235, np.uint8)
    pixels[150:500, 250:550] = (40, 60, 120)
    Image.fromarray(pixels).save("photo.jpg")
    return "photo.jpg"


def test_environment_has_no_torch(run):
    script = (
        "from importlib.util import find_spec; print([find_spec(n) for n in ('torch', 'scipy')])"
    )
    assert run("python", "-c", script) == "[None, None]\n"


@pytest.mark.parametrize("model", WITH_ONNX_FILE)
def test_bundled_models_predict(run, photo, model):
    document = json.loads(run("fashioncnn", "predict", photo, "--model", model, "--json"))
    (prediction,) = document["predictions"]
    assert prediction["error"] is None
    assert len(prediction["top"]) == 3
    run("fashioncnn", "predict", photo, "--model", model, "--explain", "maps")
    assert [path.suffix for path in Path("maps").iterdir()] == [".png"]


def test_default_model_predicts(run, photo):
    assert "photo.jpg" in run("fashioncnn", "predict", photo)


def test_python_api_predicts(run, photo):
    script = (
        "from fashioncnn import Classifier; print(Classifier.load('photo').predict('photo.jpg'))"
    )
    assert run("python", "-c", script).startswith("[")


def test_evaluation_works(run):
    text = run("fashioncnn", "evaluate", "accurate", "--data", "sketches", "--json")
    assert json.loads(text)["n"] == 1000
