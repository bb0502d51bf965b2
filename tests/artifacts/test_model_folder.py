"""Model folders: what is written, what is read, and what is rejected."""

import hashlib
import json
from pathlib import Path

import pytest

from fashioncnn.artifacts import model_folder
from fashioncnn.artifacts.model_folder import (
    bundled_models,
    find_model,
    read_class_names,
    read_description,
    read_weights,
    write_model_folder,
)
from fashioncnn.artifacts.ood import OODDetector
from fashioncnn.errors import ModelError, UsageError

WEIGHTS = b"weights"


@pytest.fixture
def folder(tmp_path, description):
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    described = description.model_copy(update={"weights_sha256": sha256})
    write_model_folder(tmp_path / "model", WEIGHTS, described, "# card\n")
    return tmp_path / "model"


def change(folder, **values):
    """Edit the description on purpose."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "checksum": None, **values}))


@pytest.mark.parametrize(
    "detector",
    [
        OODDetector(2.5, -1.5),
        OODDetector(2.5, -1.5, 2.0),
    ],
    ids=str,
)
def test_description_is_read_as_written(folder, description, detector):
    changes = {
        "ood_detector": detector,
        "temperature": 1.25,
        "abstain_below": 0.25,
        "tta": "flip",
    }
    changed = description.model_copy(update=changes)
    write_model_folder(folder, WEIGHTS, changed, "# other card\n")
    assert read_description(folder) == changed
    assert (folder / "README.md").read_text() == "# other card\n"


def test_keys_of_the_description_are_documented_ones(folder):
    assert list(json.loads((folder / "config.json").read_bytes())) == [
        "schema",
        "architecture",
        "labels",
        "preprocessing",
        "dataset",
        "temperature",
        "abstain_below",
        "ood_detector",
        "tta",
        "parameters",
        "multiply_adds",
        "weights_sha256",
        "checksum",
    ]


def test_specification_is_the_description_without_weights(folder):
    description = read_description(folder)
    assert description.spec.labels == ("a", "b", "c")
    assert not hasattr(description.spec, "weights_sha256")


def test_hash_identifies_description_and_weights(description):
    for key, value in (("temperature", 2.0), ("weights_sha256", "1" * 64)):
        changed = description.model_copy(update={key: value})
        assert changed.sha256 != description.sha256
        assert changed.model_copy(update={key: getattr(description, key)}).sha256 == (
            description.sha256
        )


def test_weights_are_verified(folder):
    sha256 = read_description(folder).weights_sha256
    assert read_weights(folder, sha256, 1 << 20) == WEIGHTS
    (folder / "model.safetensors").write_bytes(b"weightr")
    with pytest.raises(ModelError, match=r"model\.safetensors: damaged, or not the weights"):
        read_weights(folder, sha256, 1 << 20)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors: cannot be read \(No such file"):
        read_weights(folder, sha256, 1 << 20)


LATER = "schema 3: of a later version of fashioncnn; use that version"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schema": 3}, LATER),
        ({"schema": 3, "architecture": {"name": "other"}}, LATER),
        ({"schema": "two"}, "schema"),
        ({"schema": None}, "schema"),
        ({"architecture": {"name": "other"}}, "architecture"),
        ({"architecture": {"name": "fashion_cnn", "hidden": 10**13}}, "hidden"),
        ({"labels": [1, 2]}, "labels"),
        ({"labels": []}, "labels"),
        ({"preprocessing": {}}, "preprocessing"),
        ({"preprocessing": {"image_size": 28, "mean": 0, "std": 0, "views": "plain"}}, "std"),
        ({"temperature": 0}, "temperature: Input should be greater than or equal to 0.001"),
        ({"abstain_below": 1}, "abstain_below"),
        ({"tta": "five-crop"}, "tta"),
        ({"ood_detector": {"slope": 1}}, "intercept"),
    ],
    ids=str,
)
def test_invalid_description_is_rejected_in_one_line(folder, values, message):
    change(folder, **values)
    with pytest.raises(ModelError, match=rf"config\.json: invalid \(.*{message}") as caught:
        read_description(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["architecture", "preprocessing"])
@pytest.mark.parametrize("value", [5, [1], "text", None], ids=str)
def test_invalid_description_of_version_0_1_is_rejected(folder, key, value):
    change(folder, **{"schema": 1, key: value})
    with pytest.raises(ModelError, match=rf"config\.json: invalid \({key}: "):
        read_description(folder)


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, "", "7"])
def test_damaged_json_is_rejected(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json: invalid"):
        read_description(folder)


def test_missing_description_is_reported(tmp_path):
    with pytest.raises(ModelError, match=r"config\.json: cannot be read \(No such file"):
        read_description(tmp_path)


def test_model_is_found_in_a_run_and_by_the_name_of_a_bundled_model(folder, monkeypatch):
    monkeypatch.setattr(model_folder, "bundled_models", lambda: {"own": folder})
    assert find_model(folder) == find_model(folder.parent) == find_model(Path("own")) == folder
    with pytest.raises(
        UsageError, match=r"other: no such run or model folder, and no bundled model .*own"
    ):
        find_model(Path("other"))


def test_folder_takes_precedence_over_a_bundled_model(folder, monkeypatch):
    monkeypatch.setattr(model_folder, "bundled_models", lambda: {"own": folder})
    model = Path("own/model")
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    assert find_model(Path("own")) == model
    (model / "config.json").unlink()
    assert find_model(Path("own")) == folder
    Path("own/config.toml").write_text("")
    with pytest.raises(UsageError, match="own: the run has no model yet; finish it with --resume"):
        find_model(Path("own"))


def test_folder_without_a_model_is_rejected(tmp_path):
    with pytest.raises(UsageError, match="no such run or model folder"):
        find_model(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="neither a run nor a model folder"):
        find_model(tmp_path)


def test_group_of_runs_is_rejected_with_one_of_its_runs(tmp_path):
    (tmp_path / "group.toml").write_text("")
    for seed in (7, 3):
        (tmp_path / f"seed-{seed}").mkdir()
    with pytest.raises(UsageError, match=r"a group of runs; name one of them, such as .*/seed-3"):
        find_model(tmp_path)


def test_bundled_models_are_small_and_have_the_classes_of_fashion_mnist():
    limits = {"accurate": 1e6, "medium": 10e6, "photo": 4e6, "photo-zero-shot": 4e6}
    assert bundled_models().keys() == limits.keys()
    files = [file for path in bundled_models().values() for file in path.iterdir()]
    assert sum(file.stat().st_size for file in files) < 19.5e6  # the wheel has a limit of 20 MB
    for name, path in bundled_models().items():
        assert read_class_names(Path(name))[9] == "Ankle boot"
        assert (path / "model.safetensors").stat().st_size < limits[name]
