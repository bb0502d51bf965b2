"""Networks in model folders: the same weights and predictions after loading."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fashioncnn.artifacts.model_folder import bundled_models, read_description
from fashioncnn.artifacts.ood import OODDetector
from fashioncnn.errors import ModelError, UsageError
from fashioncnn.models.backend import torch_predictor
from fashioncnn.models.trained_model import load_model, save_model


@pytest.fixture
def folder(tmp_path, tiny_result):
    save_model(tiny_result.model, tmp_path / "model", "# card\n")
    return tmp_path / "model"


def change(folder, **values):
    """Edit the description on purpose."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "checksum": None, **values}))


def test_loaded_model_equals_the_saved_one(folder, tiny_result, small):
    loaded = load_model(folder)
    assert loaded.sha256 == tiny_result.model.sha256 == read_description(folder).sha256
    assert loaded.spec == tiny_result.model.spec
    assert not loaded.network.training
    images = small.test.images
    probabilities, expected = (
        torch_predictor(model).predict_images(images).probabilities
        for model in (loaded, tiny_result.model)
    )
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)


def test_saving_again_writes_the_same_bytes(folder, tmp_path):
    save_model(load_model(folder), tmp_path / "again", "# card\n")
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_description_counts_parameters_and_multiply_adds(folder, tiny_result):
    description = read_description(folder)
    convolutions = (9 * 4 + 4) + (4 * 9 * 8 + 8)
    linear = (8 * 49 * 16 + 16) + (16 * 10 + 10)
    assert description.parameters == tiny_result.model.parameters == convolutions + linear
    products = 28 * 28 * 9 * 4 + 14 * 14 * 4 * 9 * 8 + 8 * 49 * 16 + 16 * 10
    assert description.multiply_adds == tiny_result.model.multiply_adds == products


def test_half_precision_needs_half_the_bytes(folder, tmp_path, tiny_result):
    changes = {
        "temperature": 1.25,
        "abstain_below": 0.4,
        "ood_detector": OODDetector(slope=2.5, intercept=-1.5),
        "tta": "flip",
    }
    model = replace(tiny_result.model, spec=tiny_result.model.spec.replace(**changes))
    save_model(model, tmp_path / "half", "", half=True)
    sizes = [(path / "model.safetensors").stat().st_size for path in (folder, tmp_path / "half")]
    assert sizes[1] < 0.55 * sizes[0]
    loaded = load_model(tmp_path / "half")
    assert loaded.spec == model.spec
    assert {p.dtype for p in loaded.network.parameters()} == {torch.float32}
    images = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(loaded.network(images), model.network(images), rtol=0.02, atol=0.02)
    save_model(loaded, tmp_path / "again", "", half=True)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("name", bundled_models())
def test_bundled_model_loads_by_name(name):
    model = load_model(Path(name))
    assert model.spec.labels[9] == "Ankle boot"
    assert read_description(bundled_models()[name]).parameters == model.parameters


def test_weights_with_a_changed_byte_are_rejected(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors: damaged"):
        load_model(folder)


def test_changed_class_name_is_rejected_unless_it_was_edited_on_purpose(folder, tmp_path):
    path = folder / "config.json"
    path.write_text(path.read_text().replace("Ankle boot", "Ankle boat"))
    with pytest.raises(ModelError, match=r"config\.json: damaged or edited \(wrong checksum\)"):
        load_model(folder)
    change(folder, checksum=None)
    save_model(load_model(folder), tmp_path / "renamed", "")
    assert json.loads((tmp_path / "renamed" / "config.json").read_text())["checksum"]
    assert load_model(tmp_path / "renamed").spec.labels[9] == "Ankle boat"


def test_weights_of_another_architecture_are_rejected(folder):
    change(folder, architecture={"name": "fashion_cnn", "hidden": 60000})
    with pytest.raises(ModelError, match="not the weights of the architecture"):
        load_model(folder)


def test_architecture_that_does_not_fit_the_images_is_rejected(folder):
    change(folder, architecture={"name": "fashion_cnn", "channels": [4] * 6})
    with pytest.raises(ModelError, match=r"config\.json: model") as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


IMPOSSIBLE = {
    "feature maps of 32 GiB": ({"name": "residual_cnn", "channels": [512], "blocks": [1]}, 4096),
    "300 blocks": ({"name": "residual_cnn", "channels": [2] * 3, "blocks": [100] * 3}, 4096),
    "17 layers": ({"name": "fashion_cnn", "channels": [4] * 17, "kernel_size": 1}, 28),
    "terabytes of weights": ({"name": "fashion_cnn", "channels": [16], "hidden": 65536}, 4096),
    "a negative size": ({"name": "fashion_cnn", "hidden": -5}, 28),
    "no pixels": ({"name": "fashion_cnn"}, 0),
}


@pytest.mark.parametrize(("architecture", "size"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_architecture_is_rejected_before_anything_is_allocated(
    folder, monkeypatch, architecture, size
):
    preprocessing = json.loads((folder / "config.json").read_text())["preprocessing"]
    change(folder, architecture=architecture, preprocessing={**preprocessing, "image_size": size})
    monkeypatch.setattr("fashioncnn.models.trained_model.load", lambda content: pytest.fail("read"))
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["F8_E4M3", "F4", "BOOL", "C64"])
def test_weights_of_types_that_are_never_written_are_rejected(folder, kind):
    path = folder / "model.safetensors"
    content = path.read_bytes().replace(b'"F32"', f'"{kind}"'.encode())
    size = int.from_bytes(content[:8], "little") + content.count(kind.encode()) * (len(kind) - 3)
    path.write_bytes(size.to_bytes(8, "little") + content[8:])
    change(folder, weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ModelError, match=rf"cannot be read \(values of type {kind}\)"):
        load_model(folder)


def test_weights_that_are_not_safetensors_are_rejected(folder):
    (folder / "model.safetensors").write_bytes(b"text")
    change(folder, weights_sha256=hashlib.sha256(b"text").hexdigest())
    with pytest.raises(ModelError, match=r"model\.safetensors: cannot be read"):
        load_model(folder)


def test_weights_that_are_not_finite_are_rejected(folder, tiny_result):
    tiny_result.model.network.output.bias.data[0] = float("nan")
    save_model(tiny_result.model, folder, "")
    with pytest.raises(ModelError, match="contains weights that are not finite"):
        load_model(folder)


def test_folder_without_a_model_is_rejected(tmp_path):
    with pytest.raises(UsageError, match="neither a run nor a model folder"):
        load_model(tmp_path)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_model_loaded_in_any_grad_mode_can_be_trained(folder, mode):
    with mode():
        network = load_model(folder).network
    network(torch.rand(2, 1, 28, 28)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_weights_are_fp32_whatever_the_default_dtype_is(folder, tiny_result):
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        loaded = load_model(folder)
    finally:
        torch.set_default_dtype(default)
    assert {p.dtype for p in loaded.network.parameters()} == {torch.float32}
    assert loaded.sha256 == tiny_result.model.sha256


def test_loading_does_not_change_the_random_numbers(folder):
    before = torch.get_rng_state()
    load_model(folder)
    load_model(Path("accurate"))
    assert torch.equal(torch.get_rng_state(), before)
