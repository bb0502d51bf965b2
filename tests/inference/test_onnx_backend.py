"""The ONNX Runtime backend: the same numbers as PyTorch, and nothing from untrusted files."""

import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from fashioncnn.artifacts.model_folder import read_description
from fashioncnn.artifacts.onnx_file import ExportRecord, read_onnx_model
from fashioncnn.errors import ModelError, UsageError
from fashioncnn.inference import onnx_backend as module
from fashioncnn.inference.onnx_backend import OnnxBackend, open_onnx_backend
from fashioncnn.models.backend import TorchBackend
from fashioncnn.models.trained_model import load_model

NAMES = ["mean_head", "hidden_head"]


@pytest.fixture(scope="module", params=NAMES)
def both(request, onnx_folders):
    """The same model with ONNX Runtime and with PyTorch."""
    folder = onnx_folders[request.param]
    return open_onnx_backend(folder, threads=1)[0], TorchBackend(load_model(folder))


@pytest.fixture(scope="module")
def backend(onnx_folders):
    return open_onnx_backend(onnx_folders["mean_head"], threads=1)[0]


def test_logits_are_those_of_pytorch(both, small):
    onnx, torch = both
    logits = onnx.logits(small.test.images)
    assert logits.dtype == np.float32
    assert np.ptp(logits, axis=0).min() > 1e-3, "all images have the same logits"
    np.testing.assert_allclose(logits, torch.logits(small.test.images), atol=1e-3)


def test_no_images_have_no_logits(both):
    assert both[0].logits(np.empty((0, 28, 28), np.uint8)).shape == (0, 10)


def test_logits_do_not_depend_on_the_batch(both, small, monkeypatch):
    onnx, images = both[0], small.test.images
    expected = onnx.logits(images)
    monkeypatch.setattr(module, "BATCH_SIZE", 7)
    np.testing.assert_allclose(onnx.logits(images), expected, atol=1e-5)
    alone = np.concatenate([onnx.logits(images[i : i + 1]) for i in range(10)])
    np.testing.assert_allclose(alone, expected[:10], atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [lambda x: x[:, :, ::-1], lambda x: x[::-1], np.asfortranarray],
    ids=["flipped", "reversed", "column-major"],
)
def test_arrays_of_any_memory_layout_are_accepted(change, backend, small):
    images = change(small.test.images[:5])
    expected = backend.logits(np.ascontiguousarray(images))
    np.testing.assert_array_equal(backend.logits(images), expected)


def test_activation_maps_are_those_of_grad_cam(onnx_folders, backend, small, monkeypatch):
    monkeypatch.setattr(module, "BATCH_SIZE", 7)
    torch = TorchBackend(load_model(onnx_folders["mean_head"]))
    images, labels = small.test.images[:20], np.arange(20) % 10
    maps, expected = (b.activation_maps(images, labels) for b in (backend, torch))
    assert maps.shape == (20, 14, 14)
    assert maps.dtype == np.float32
    assert 0 == maps.min() < maps.max()
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-6)


def test_network_with_another_head_says_that_its_maps_need_pytorch(onnx_folders):
    backend = open_onnx_backend(onnx_folders["hidden_head"])[0]
    with pytest.raises(
        UsageError, match=r"model\.onnx: .* need its weights and PyTorch; .*'\.\[train\]'"
    ):
        backend.activation_maps(np.zeros((1, 28, 28), np.uint8), np.array([0]))


def test_network_with_another_head_uses_a_backend_with_gradients(onnx_folders, small):
    folder = onnx_folders["hidden_head"]
    backend = open_onnx_backend(folder, 1, lambda: TorchBackend(load_model(folder)))[0]
    images, labels = small.test.images[:5], np.arange(5)
    expected = TorchBackend(load_model(folder)).activation_maps(images, labels)
    np.testing.assert_array_equal(backend.activation_maps(images, labels), expected)


def test_threads_share_a_backend(backend, small):
    images = small.test.images
    expected, results = backend.logits(images), []
    threads = [
        threading.Thread(target=lambda: results.append(backend.logits(images))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(np.array_equal(logits, expected) for logits in results)


@pytest.mark.parametrize("n", [1, 23, 24, 25, 61, 100])
def test_images_divided_among_threads_have_the_same_logits(n, backend, onnx_folders, small):
    images = small.test.images[:n]
    several = open_onnx_backend(onnx_folders["mean_head"], threads=3)[0]
    several.logits(images[::-1])  # no order depends on an earlier call
    np.testing.assert_allclose(several.logits(images), backend.logits(images), atol=1e-5)


def test_failure_in_a_thread_is_reported(onnx_folders):
    several = open_onnx_backend(onnx_folders["mean_head"], threads=2)[0]
    with pytest.raises(ModelError, match=r"model\.onnx: cannot be computed"):
        several.logits(np.zeros((40, 28, 28, 3), np.uint8))


def test_backend_can_be_pickled(backend, small):
    copied = pickle.loads(pickle.dumps(backend))
    images = small.test.images[:5]
    np.testing.assert_array_equal(copied.logits(images), backend.logits(images))
    assert (copied.precision, copied.threads) == ("fp32", 1)


def test_file_alone_is_a_model(onnx_folder):
    alone = shutil.move(onnx_folder / "model.onnx", "shoes.onnx")
    backend, description = open_onnx_backend(Path(alone))
    assert description == read_description(onnx_folder)
    assert backend.source == "shoes.onnx"


def test_file_of_other_weights_than_the_folder_is_rejected(onnx_folders, onnx_folder):
    shutil.copy(onnx_folders["hidden_head"] / "model.onnx", onnx_folder)
    with pytest.raises(ModelError, match=r"model\.onnx: was exported from other weights .* again"):
        open_onnx_backend(onnx_folder)


def test_description_of_the_folder_takes_precedence(onnx_folder):
    config = onnx_folder / "config.json"
    text = config.read_text().replace('"temperature": 0.7', '"temperature": 0.5')
    start = text.index('"checksum"')
    config.write_text(text[:start] + '"checksum": null\n}')
    assert open_onnx_backend(onnx_folder)[1].temperature == 0.5


def test_folder_without_an_onnx_file_is_reported(onnx_folder):
    (onnx_folder / "model.onnx").unlink()
    with pytest.raises(UsageError, match="model: has no ONNX file"):
        open_onnx_backend(onnx_folder)


def test_no_changed_byte_is_ignored(onnx_folders):
    """Each changed byte of the graph or the metadata is an error, never another prediction."""
    content = (onnx_folders["mean_head"] / "model.onnx").read_bytes()
    path, generator = Path("damaged.onnx"), np.random.default_rng(0)
    for position in generator.choice(len(content), 60, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"damaged\.onnx"):
            open_onnx_backend(path)


def test_graph_that_was_added_to_the_file_is_rejected(onnx_folder):
    """A reader would merge it into the first graph, whose checksum still matches."""
    onnx = pytest.importorskip("onnx")
    content = (onnx_folder / "model.onnx").read_bytes()
    constant = onnx.helper.make_node("Constant", [], ["unused"], value_int=1)
    added = onnx.ModelProto(graph=onnx.GraphProto(node=[constant]))
    Path("longer.onnx").write_bytes(content + added.SerializeToString())
    with pytest.raises(ModelError, match=r"longer\.onnx: damaged, or edited after the export"):
        open_onnx_backend(Path("longer.onnx"))


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
def test_file_that_was_cut_is_rejected(onnx_folder, part):
    content = (onnx_folder / "model.onnx").read_bytes()
    Path("cut.onnx").write_bytes(content[: int(part * len(content))])
    with pytest.raises(ModelError, match=r"cut\.onnx"):
        open_onnx_backend(Path("cut.onnx"))


def test_graph_that_is_not_one_of_a_model_is_rejected(onnx_folders, capfd):
    """ONNX Runtime gets a graph whose recorded checksum matches, and prints nothing itself."""
    content, description, record = read_onnx_model(onnx_folders["mean_head"] / "model.onnx")
    with pytest.raises(ModelError, match=r"other\.onnx: not a usable ONNX file"):
        OnnxBackend(b"", description, record, "other.onnx")
    size = description.preprocessing.__class__(32, 0.3, 0.35, "fashion")
    resized = description.model_copy(update={"preprocessing": size})
    no_maps = ExportRecord.model_validate({**record.to_json(), "head_weight": None})
    for arguments in ((resized, record), (description, no_maps)):
        with pytest.raises(ModelError, match=r"other\.onnx: its graph has other inputs or outputs"):
            OnnxBackend(content, *arguments, "other.onnx")
    assert capfd.readouterr() == ("", "")
