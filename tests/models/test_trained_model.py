import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fashioncnn.artifacts.ood import OODDetector
from fashioncnn.artifacts.preprocessing import Preprocessing, fit_preprocessing
from fashioncnn.errors import ModelError, UsageError
from fashioncnn.models import trained_model
from fashioncnn.models.trained_model import find_model, load_model, save_model


@pytest.fixture
def folder(tmp_path, tiny_outcome):
    save_model(tiny_outcome.model, tmp_path / "model", "# card\n")
    return tmp_path / "model"


def test_what_is_saved_is_loaded_and_answers_the_same(folder, tiny_outcome):
    loaded = load_model(folder)
    assert loaded.sha256 == tiny_outcome.model.sha256
    assert loaded.class_names == tiny_outcome.model.class_names
    images = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(loaded.network(images), tiny_outcome.model.network(images))


def test_saving_again_writes_the_same_bytes(folder, tmp_path):
    save_model(load_model(folder), tmp_path / "again", "# card\n")
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_half_the_bytes_and_nearly_the_same_answers(folder, tmp_path, tiny_outcome):
    ood_detector = OODDetector(slope=2.5, intercept=-1.5)
    model = replace(
        tiny_outcome.model, temperature=1.25, abstain_below=0.4, ood_detector=ood_detector
    )
    save_model(model, tmp_path / "half", "", half=True)
    sizes = [(path / "model.safetensors").stat().st_size for path in (folder, tmp_path / "half")]
    assert sizes[1] < 0.55 * sizes[0]
    loaded = load_model(tmp_path / "half")
    assert (loaded.temperature, loaded.abstain_below) == (1.25, 0.4)
    assert loaded.ood_detector == ood_detector
    assert {p.dtype for p in loaded.network.parameters()} == {torch.float32}
    images = torch.rand(3, 1, 28, 28)
    expected = model.network(images)
    torch.testing.assert_close(loaded.network(images), expected, rtol=0.02, atol=0.02)
    save_model(loaded, tmp_path / "again", "", half=True)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_model_that_comes_with_the_package_is_found_by_its_name(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(trained_model, "bundled_models", lambda: {"own": folder})
    assert find_model(Path("own")) == folder
    with pytest.raises(UsageError, match=r"other: no such run .* no model of that name .*own"):
        find_model(Path("other"))
    own = Path("own/model")  # of a run that a person called so
    own.mkdir(parents=True)
    (own / "config.json").write_text("{}")
    assert find_model(Path("own")) == own
    (own / "config.json").unlink()
    (own.parent / "config.toml").write_text("")
    with pytest.raises(UsageError, match="own: this run has no model yet"):
        find_model(Path("own"))


def test_every_shipped_model_loads_and_is_small():
    for name, path in trained_model.bundled_models().items():
        assert load_model(path).class_names[9] == "Ankle boot", name
        assert sum(p.stat().st_size for p in path.iterdir()) < 2_000_000, name


def test_one_changed_byte_in_the_weights_is_found(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.safetensors: damaged"):
        load_model(folder)


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"schema": 2}, "schema: Input should be 1"),
        ({"architecture": {"name": "other"}}, "not understood"),
        ({"labels": [1, 2]}, "not understood"),
        ({"labels": []}, "not understood"),
        ({"preprocessing": {}}, "not understood"),
        ({"preprocessing": {"image_size": 28, "mean": 0, "std": 0, "views": "plain"}}, "std"),
        ({"architecture": {"name": "fashion_cnn", "hidden": 10**13}}, "hidden"),
        ({"architecture": {"name": "fashion_cnn", "hidden": 60000}}, "not the weights of"),
        ({"temperature": 0}, "temperature: Input should be greater than 0"),
        ({"weights_sha256": "0" * 64}, "damaged"),
    ],
)
def test_descriptions_that_are_not_ours_are_refused(folder, values, fault):
    change(folder, **values)
    with pytest.raises(ModelError, match=fault) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_broken_json_is_refused(folder):
    for content in ("{", "[]", "[" * 100_000, ""):
        (folder / "config.json").write_text(content)
        with pytest.raises(ModelError, match=r"config\.json: not understood"):
            load_model(folder)


def test_weights_that_are_not_finite_are_refused(folder, tiny_outcome):
    tiny_outcome.model.network.output.bias.data[0] = float("nan")
    save_model(tiny_outcome.model, folder, "")
    with pytest.raises(ModelError, match="not finite"):
        load_model(folder)


def test_missing_weights_are_named(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors: cannot be loaded"):
        load_model(folder)


def test_places_without_a_model(tmp_path):
    with pytest.raises(UsageError, match="no such"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="neither a run nor a model folder"):
        load_model(tmp_path)
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(UsageError, match="no model yet"):
        load_model(tmp_path)


def test_scalings(small):
    images = small.train.images
    tensor = torch.from_numpy(images).unsqueeze(1)
    unit = fit_preprocessing(images, "unit", "fashion")(tensor)
    assert unit.min() == 0
    assert unit.max() == pytest.approx(1)
    symmetric = fit_preprocessing(images, "symmetric", "fashion")(tensor)
    assert symmetric.min() == pytest.approx(-1)
    standard = fit_preprocessing(images, "standard", "fashion")(tensor)
    assert standard.mean() == pytest.approx(0, abs=1e-4)
    assert standard.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_preprocessing_leaves_what_it_is_given_as_it_was(dtype):
    images = torch.arange(256).view(1, 1, 16, 16).to(dtype)
    before = images.clone()
    ready = Preprocessing(16, 0.5, 0.25, "fashion")(images)
    torch.testing.assert_close(images, before)
    torch.testing.assert_close(ready, (before.float() / 255 - 0.5) / 0.25)
