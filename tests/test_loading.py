"""Models are opened with ONNX Runtime or PyTorch, and both give the same predictions."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fashioncnn import Classifier
from fashioncnn.artifacts.model_folder import bundled_models
from fashioncnn.errors import MissingExtraError, ModelError, UsageError
from fashioncnn.inference.onnx_backend import OnnxBackend
from fashioncnn.loading import choose_backend, open_model
from fashioncnn.models.backend import TorchBackend
from fashioncnn.models.trained_model import load_model

BACKENDS = {"onnx": OnnxBackend, "torch": TorchBackend}


@pytest.mark.parametrize("name", BACKENDS)
def test_backend_is_the_one_that_was_asked_for(onnx_folder, small, name):
    loaded = open_model(onnx_folder, name)
    assert isinstance(loaded.predictor.backend, BACKENDS[name])
    assert (loaded.backend, loaded.precision, loaded.device) == (name, "fp32", "cpu")
    assert loaded.description == open_model(onnx_folder, "auto").description
    expected = open_model(onnx_folder, "torch").predictor.predict_images(small.test.images)
    predictions = loaded.predictor.predict_images(small.test.images)
    np.testing.assert_allclose(predictions.probabilities, expected.probabilities, atol=1e-4)
    np.testing.assert_allclose(predictions.confidences, expected.confidences, atol=1e-4)


def test_auto_is_onnx_where_there_is_a_file(onnx_folder):
    assert choose_backend(onnx_folder, "auto", "auto") == "onnx"
    assert choose_backend(onnx_folder, "auto", "cpu") == "onnx"
    assert choose_backend(onnx_folder, "auto", "cuda") == "torch"
    assert choose_backend(onnx_folder, "auto", "auto", has_network=True) == "torch"
    (onnx_folder / "model.onnx").unlink()
    assert choose_backend(onnx_folder, "auto", "auto") == "torch"
    assert open_model(onnx_folder).backend == "torch"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("onnx", "cuda:1"), "device = cuda:1: ONNX Runtime uses the CPU; use --backend torch"),
        (("auto", "gpu"), "device = gpu: should be auto, cpu"),
    ],
    ids=["device", "unknown device"],
)
def test_contradictions_are_reported(onnx_folder, arguments, message):
    with pytest.raises(UsageError, match=message):
        open_model(onnx_folder, *arguments)


def test_model_without_an_onnx_file_names_the_export(onnx_folder):
    (onnx_folder / "model.onnx").unlink()
    with pytest.raises(
        UsageError, match=r"model: has no model\.onnx; write it with: .* export model"
    ):
        open_model(onnx_folder, "onnx")
    with pytest.raises(UsageError, match=r"model: has no model\.onnx; it has to be exported first"):
        Classifier.load(onnx_folder, backend="onnx")


def test_unknown_backend_of_a_classifier_is_reported(onnx_folder):
    with pytest.raises(UsageError, match="backend = 'jax': should be auto or onnx or torch"):
        Classifier.load(onnx_folder, backend="jax")


def test_onnx_file_alone_is_a_model(onnx_folder, small):
    expected = open_model(onnx_folder).predictor.predict_images(small.test.images).probabilities
    for name in ("model.safetensors", "config.json", "README.md"):
        (onnx_folder / name).unlink()
        probabilities = open_model(onnx_folder).predictor.predict_images(small.test.images)
        np.testing.assert_array_equal(probabilities.probabilities, expected)
    shutil.move(onnx_folder / "model.onnx", "shoes.ONNX")
    loaded = open_model(Path("shoes.ONNX"))
    assert loaded.folder is None
    np.testing.assert_array_equal(
        loaded.predictor.predict_images(small.test.images).probabilities, expected
    )


def test_pytorch_says_that_it_needs_the_weights(onnx_folder):
    (onnx_folder / "model.safetensors").unlink()
    for path in (onnx_folder, onnx_folder / "model.onnx"):
        with pytest.raises(UsageError, match=r"an ONNX file without model\.safetensors"):
            open_model(path, "torch")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a model of fashioncnn"),
        (b"not an ONNX file", "not an ONNX file, or damaged"),
        (None, r"cannot be read \(larger than the limit of 2047 MiB"),
    ],
    ids=["empty", "text", "huge"],
)
def test_other_files_are_rejected_in_one_line(content, message):
    path = Path("model.onnx")
    if content is None:
        with path.open("wb") as file:
            file.truncate(1 << 31)  # sparse
    else:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as error:
        open_model(path)
    assert str(error.value).startswith("model.onnx: ")
    assert "\n" not in str(error.value)


def test_model_of_another_program_is_rejected():
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph([], "graph", [], [])
    Path("other.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(ModelError, match=r"other\.onnx: not a model of fashioncnn"):
        open_model(Path("other.onnx"))


def test_fifo_and_folder_called_like_a_file_are_rejected():
    os.mkfifo("pipe.onnx")
    with pytest.raises(ModelError, match=r"pipe\.onnx: cannot be read \(a FIFO"):
        open_model(Path("pipe.onnx"))
    Path("folder.onnx").mkdir()
    with pytest.raises(UsageError, match=r"folder\.onnx: neither a run nor a model folder"):
        open_model(Path("folder.onnx"))
    Path("weights.bin").write_bytes(b"")
    with pytest.raises(UsageError, match=r"weights\.bin: not an ONNX file \(its name does not"):
        open_model(Path("weights.bin"))
    with pytest.raises(UsageError, match=r"nowhere\.onnx: no such file"):
        open_model(Path("nowhere.onnx"))


def test_saved_classifier_has_the_files_it_was_loaded_from(onnx_folder, small):
    classifier = Classifier.load(onnx_folder)
    expected = classifier.predict_proba(small.test.images)
    classifier.save("copy")
    for name in ("model.onnx", "model.safetensors", "config.json"):
        assert Path("copy", name).read_bytes() == (onnx_folder / name).read_bytes()
    for backend in BACKENDS:
        loaded = Classifier.load("copy", backend=backend)
        np.testing.assert_allclose(loaded.predict_proba(small.test.images), expected, atol=1e-4)


def test_saving_other_weights_removes_the_onnx_file(onnx_folder, small):
    Classifier.load(onnx_folder, backend="torch").save(onnx_folder)
    assert not (onnx_folder / "model.onnx").exists()
    assert Classifier.load(onnx_folder).predict(small.test.images[:1]).shape == (1,)


def test_weights_that_changed_since_loading_are_not_saved(onnx_folder):
    classifier = Classifier.load(onnx_folder)
    (onnx_folder / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match="damaged, or not the weights"):
        classifier.save("copy")
    assert not Path("copy").exists()


def test_explanations_are_the_same_with_both_backends(onnx_folder, small):
    images = [
        np.asarray(Classifier.load(onnx_folder, backend=name).explain(small.test.images[0]))
        for name in BACKENDS
    ]
    difference = np.abs(images[0].astype(int) - images[1]).max()
    assert difference <= 1, "rounding of colors"


def test_explanation_without_closed_form_uses_the_weights(onnx_folders, small):
    folder = Path(shutil.copytree(onnx_folders["hidden_head"], "hidden"))
    images = [
        np.asarray(Classifier.load(folder, backend=name).explain(small.test.images[0]))
        for name in BACKENDS
    ]
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="need its weights and PyTorch"):
        Classifier.load(folder).explain(small.test.images[0])


def test_missing_torch_is_reported(onnx_folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="torch is not installed; in a checkout"):
        open_model(onnx_folder, "torch")
    assert open_model(onnx_folder).backend == "onnx"


def test_opening_with_onnx_imports_no_torch(onnx_folder):
    script = "import sys; from pathlib import Path; from fashioncnn.loading import open_model; "
    script += "open_model(Path('model')); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", bundled_models())
def test_bundled_models_are_the_same_with_both_backends(name, sketches):
    folder = bundled_models()[name]
    if not (folder / "model.onnx").exists():
        pytest.skip("this model has no ONNX file")
    onnx = open_model(Path(name), "onnx").predictor.backend
    torch = TorchBackend(load_model(Path(name)))
    images = sketches.test.images[:20]
    np.testing.assert_allclose(onnx.logits(images), torch.logits(images), atol=1e-3)
    labels = np.arange(20) % 10
    maps, expected = (b.activation_maps(images, labels) for b in (onnx, torch))
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-5)
