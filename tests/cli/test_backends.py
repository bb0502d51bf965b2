"""``predict`` and ``evaluate`` with ONNX Runtime and with PyTorch."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fashioncnn.artifacts.model_folder import read_description
from fashioncnn.artifacts.onnx_file import encode_metadata, read_onnx_model
from fashioncnn.environment import EXTRAS
from fashioncnn.inference.onnx_backend import OnnxBackend
from fashioncnn.models.backend import TorchBackend
from fashioncnn.models.export import export_model
from fashioncnn.models.onnx_bytes import append_metadata
from fashioncnn.models.trained_model import load_model
from fashioncnn.runs import RunFolder

BACKENDS = ["onnx", "torch"]


@pytest.fixture(scope="module")
def onnx_of_run(finished_run, small):
    """The ONNX file of the finished run."""
    folder = finished_run / "model"
    images = small.test.images[:20]
    return export_model(load_model(folder), read_description(folder), images, "test").content


@pytest.fixture
def exported(trained, onnx_of_run):
    """A copy of the finished run with its ONNX file."""
    Path(trained, "model", "model.onnx").write_bytes(onnx_of_run)
    return trained


@pytest.fixture
def used(monkeypatch):
    """The backends that compute logits, by name."""
    names = set()

    def record(backend, name):
        logits = backend.logits
        monkeypatch.setattr(
            backend, "logits", lambda self, images: names.add(name) or logits(self, images)
        )

    record(OnnxBackend, "onnx")
    record(TorchBackend, "torch")
    return names


@pytest.mark.parametrize("model", ["run", "run/model", "run/model/model.onnx", "shoes.onnx"])
def test_auto_predicts_with_onnx(cli, exported, images, used, model):
    shutil.copy("run/model/model.onnx", "shoes.onnx")
    document = cli.json("predict", images, "--model", model)
    assert used == {"onnx"}
    used.clear()
    with_torch = cli.json("predict", images, "--model", "run", "--backend", "torch")
    assert used == {"torch"}
    for onnx, torch in zip(document["predictions"], with_torch["predictions"], strict=True):
        assert [c["code"] for c in onnx["top"]] == [c["code"] for c in torch["top"]]
        probabilities = [[c["probability"] for c in p["top"]] for p in (onnx, torch)]
        np.testing.assert_allclose(*probabilities, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_evaluation_uses_the_predictions_of_the_run(cli, exported, used, backend):
    before = RunFolder(Path("run")).metrics.read_bytes()
    cli.ok("evaluate", "run", "--backend", backend)
    assert used == set()
    assert RunFolder(Path("run")).metrics.read_bytes() == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_evaluation_without_stored_predictions_computes_them(cli, exported, used, backend):
    stored = cli.json("evaluate", "run")
    Path("run/predictions.npz").unlink()
    metrics = cli.json("evaluate", "run", "--backend", backend)
    assert used == {backend}
    assert metrics["confusion"] == stored["confusion"]
    assert metrics["loss"] == pytest.approx(stored["loss"], abs=1e-4)


def test_metrics_of_an_int8_file_are_not_stored(cli, exported, used):
    path = Path("run/model/model.onnx")
    content, description, record = read_onnx_model(path)
    int8 = encode_metadata(description, record.model_copy(update={"precision": "int8"}))
    path.write_bytes(append_metadata(content[: record.graph_bytes], int8))
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    assert cli.json("evaluate", "run")["n"] == 100
    assert used == {"onnx"}
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


def test_metrics_are_printed_where_the_report_cannot_be_drawn(cli, exported, monkeypatch):
    monkeypatch.setitem(EXTRAS, "report", ("no_module",))
    before = RunFolder(Path("run")).metrics.read_bytes()
    code, out, err = cli("evaluate", "run", "--json")
    assert code == 0
    assert json.loads(out)["n"] == 100
    assert "run: the metrics are not stored, since its report cannot be drawn (no_module" in err
    assert RunFolder(Path("run")).metrics.read_bytes() == before


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_file_of_other_weights_is_reported(cli, exported, images, onnx_folders, command):
    shutil.copy(onnx_folders["mean_head"] / "model.onnx", "run/model")
    arguments = [images, "--model", "run"] if command == "predict" else ["run"]
    message = cli.fails(1, command, *arguments)
    assert "model.onnx: was exported from other weights than those of config.json" in message
    cli.ok(command, *arguments, "--backend", "torch")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "onnx"], "run: has no model.onnx; write it with: fashioncnn export run"),
        (["--backend", "jax"], "--backend"),
        (["--backend", "onnx", "--device", "cuda"], "run: has no model.onnx"),
    ],
    ids=["no file", "unknown", "device"],
)
def test_backend_that_is_not_possible_is_reported(cli, trained, images, arguments, message):
    assert message in cli.fails(2, "predict", images, "--model", trained, *arguments)
    assert message in cli.fails(2, "evaluate", trained, *arguments)


def test_onnx_file_as_an_image_is_reported(cli, onnx_folder):
    message = cli.fails(2, "predict", onnx_folder / "model.onnx")
    assert "model.onnx: a model, not an image; to predict with it, use --model" in message


def test_training_from_an_onnx_file_is_rejected(cli, onnx_folder):
    (onnx_folder / "model.safetensors").unlink()
    for path in (onnx_folder, onnx_folder / "model.onnx"):
        message = cli.fails(2, "train", "--from", path, "--data", "sketches")
        assert "an ONNX file without model.safetensors, which PyTorch needs" in message
