"""Runs of earlier versions are evaluated and reported; old keys are rejected by the new name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fashioncnn.cli import main
from fashioncnn.config import read_settings, resolve
from fashioncnn.data.splits import split_validation
from fashioncnn.errors import ConfigError, FashionCNNError
from fashioncnn.evaluation.predictions import load_predictions
from fashioncnn.migration import (
    RENAMED,
    migrate_environment,
    migrate_model_description,
    migrate_settings,
)
from fashioncnn.models.backend import compute_logits, to_tensor
from fashioncnn.models.trained_model import load_model
from fashioncnn.runs import RunFolder, read_json
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model

FIXTURES = Path(__file__).parent / "fixtures"
OF_0_2_0 = "run-ade2c74"
FINISHED = ("run-94955e9", "run-0b4f578", OF_0_2_0)
UNFINISHED = ("unfinished-94955e9", "unfinished-0b4f578")
PRECISIONS = {"run-94955e9": "fp32", "run-0b4f578": "bf16", OF_0_2_0: "fp32"}


@pytest.fixture(autouse=True)
def _torch_kernels(monkeypatch):
    monkeypatch.setenv("FASHIONCNN_KERNELS", "torch")


def copy_run(name):
    """Copy a run of an earlier version into the current folder."""
    shutil.copytree(FIXTURES / name, name)
    return RunFolder(Path(name))


@pytest.mark.parametrize("name", FINISHED)
def test_model_predicts_as_in_its_version(name, sketches):
    """Stored logits are those that the version computed."""
    model = load_model(FIXTURES / name)
    predictions, _ = load_predictions(FIXTURES / name / "predictions.npz")
    settings = read_settings(FIXTURES / name / "config.toml")
    stored = predictions["validation"]
    validation = split_validation(sketches.train, settings.data.validation)[1]
    np.testing.assert_array_equal(validation.labels, stored.labels)
    assert (stored.indices is None) == (name != OF_0_2_0)
    images = to_tensor(validation.images, torch.device("cpu"))
    logits = compute_logits(
        model.network, model.spec.preprocessing, images, settings.runtime.precision
    )
    tolerance = {"fp32": 1e-4, "bf16": 0.05}[PRECISIONS[name]]
    np.testing.assert_allclose(logits, stored.logits, atol=tolerance)
    metrics = json.loads((FIXTURES / name / "metrics.json").read_bytes())["validation"]
    accuracy = (stored.logits.argmax(1) == stored.labels).mean()
    assert metrics["accuracy"] == pytest.approx(accuracy)


def test_specification_of_the_last_version_0_1_has_all_values():
    spec = load_model(FIXTURES / "run-0b4f578").spec
    assert (spec.temperature, spec.abstain_below, spec.ood_detector) == (0.66, 0.3, None)
    assert spec.architecture.flip_equivariant is True
    assert (spec.preprocessing.views, spec.tta) == ("fashion", "none")


@pytest.mark.parametrize("file", ["metrics.json", "environment.json", "model/config.json"])
@pytest.mark.parametrize("damage", ["key", "added"])
def test_documents_without_checksum_are_those_of_version_0_2_0(file, damage):
    """A damaged ``"checksum"`` of a later version is a key that version 0.2.0 did not have."""
    run = copy_run(OF_0_2_0)
    path = run.path / file
    text = path.read_text()
    path.write_text(
        text.replace('"schema"', '"shema"') if damage == "key" else '{"chfcksum": "a",' + text[1:]
    )
    with pytest.raises(FashionCNNError, match="no checksum"):
        load_model(run.path) if file.startswith("model") else read_json(path)


def test_specification_of_the_first_version_has_default_values():
    spec = load_model(FIXTURES / "run-94955e9").spec
    assert (spec.temperature, spec.abstain_below, spec.tta) == (1.0, 0.0, "none")


def test_settings_of_the_last_version_0_1_have_the_new_names():
    settings = read_settings(FIXTURES / "run-0b4f578" / "config.toml")
    assert settings.model.flip_equivariant is True
    assert settings.data.views == "fashion"
    assert settings.augmentation.outlier_exposure == 0.1
    assert (settings.training.ema_decay, settings.training.abstain_below) == (0.999, 0.3)
    distillation = settings.distillation
    assert (distillation.ensemble_size, distillation.epochs, distillation.alpha) == (1, 1, 0.8)
    assert distillation.teachers == ()
    assert settings.runtime.kernels == "native"


def test_settings_of_the_first_version_have_the_kernels_of_pytorch():
    settings = read_settings(FIXTURES / "run-94955e9" / "config.toml")
    assert settings.runtime.kernels == "torch"
    assert settings.training.epochs == 2


@pytest.mark.parametrize("name", FINISHED)
def test_evaluate_computes_the_metrics_of_version_0_1(name, capsys):
    run = copy_run(name)
    before = json.loads(run.metrics.read_bytes())["validation"]
    assert main(["evaluate", name, "--split", "validation", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["schema"] == 2
    assert metrics["accuracy"] == pytest.approx(before["accuracy"], abs=0.01)
    assert metrics["loss"] == pytest.approx(before["loss"], abs=0.01)
    assert metrics["parameters"] == before["parameters"]
    assert json.loads(run.metrics.read_bytes())["validation"] == metrics
    stored = load_predictions(run.predictions)[0]["validation"]
    assert len(stored.indices) == metrics["n"] == 500


@pytest.mark.parametrize("name", FINISHED)
def test_report_is_written(name, capsys):
    run = copy_run(name)
    assert main(["report", name]) == 0
    page = (run.path / "report.html").read_text("utf-8")
    accuracy = json.loads(run.metrics.read_bytes())["validation"]["accuracy"]
    assert f"{accuracy:.2%}" in page or f"{accuracy:.1%}" in page


@pytest.mark.parametrize("name", FINISHED)
def test_images_are_predicted(name, idx_folder, capsys):
    model = FIXTURES / name
    images = idx_folder / "t10k-images-idx3-ubyte"
    assert main(["predict", "--model", str(model), str(images), "--json"]) == 0
    predictions = json.loads(capsys.readouterr().out)["predictions"]
    assert [p["source"] for p in predictions] == [f"{images}[{i}]" for i in range(100)]
    abstain_below = load_model(model).spec.abstain_below
    assert all(p["abstained"] == (p["confidence"] < abstain_below) for p in predictions)


@pytest.mark.parametrize("name", UNFINISHED)
def test_unfinished_run_cannot_be_resumed(name, capsys):
    copy_run(name)
    before = {path: path.read_bytes() for path in Path(name).rglob("*") if path.is_file()}
    assert main(["train", "--resume", name]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"fashioncnn: {name}: run of fashioncnn 0.1, which this version cannot resume; resume it "
        "with 0.1, or start a new run"
    ]
    assert {p: p.read_bytes() for p in Path(name).rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", FINISHED)
def test_finished_run_is_already_finished(name, capsys):
    copy_run(name)
    Path(name, "report.html").touch()
    assert main(["train", "--resume", name]) == 0
    assert "already finished" in capsys.readouterr().err


def test_training_can_start_from_a_model_of_version_0_1(small, tiny_settings):
    initial = load_model(FIXTURES / "run-94955e9")
    settings = prepare_settings(tiny_settings(epochs=1), small, initial)
    result = train_model(settings, small, initial=initial)
    assert result.model.spec.architecture == initial.spec.architecture


VALUES = {"model.symmetry": "'mirror'", "training.taught_by": "['x']", "data.pictures": "'photo'"}


def toml(key):
    section, name = key.split(".")
    return f"[{section}]\n{name} = {VALUES.get(key, '0.5')}\n"


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_key_in_a_recipe_is_rejected_by_the_new_name(old, new, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[optimizer]\nname = 'adam'\nlearning_rate = 0.1\n" + toml(old))
    with pytest.raises(ConfigError, match=rf"^{old}: renamed to {new} in version 0\.2$"):
        resolve(str(recipe), environment={})


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_key_in_a_settings_file_is_rejected_by_the_new_name(old, new, tmp_path):
    best = tmp_path / "best.toml"  # of a search
    best.write_text(toml(old))
    with pytest.raises(ConfigError, match=rf"^{old}: renamed to {new} in version 0\.2$"):
        resolve(config=best, environment={})


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_key_of_an_assignment_is_rejected_by_the_new_name(old, new):
    assignment = f"{old}={VALUES.get(old, '0.5')}"
    with pytest.raises(ConfigError, match=rf"^{old}: renamed to {new} in version 0\.2$"):
        resolve(assignments=[assignment], environment={})


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_variable_is_rejected_by_the_new_name(old, new):
    variable, renamed = ("FASHIONCNN_" + key.replace(".", "__").upper() for key in (old, new))
    with pytest.raises(ConfigError, match=rf"^{variable}: renamed to {renamed} in version 0\.2$"):
        resolve(environment={variable: VALUES.get(old, "0.5")})


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_new_key_exists(old, new):
    settings = resolve("accurate", environment={})
    section, name = new.split(".")
    assert hasattr(getattr(settings, section), name)
    old_section, old_name = old.split(".")
    assert not hasattr(getattr(settings, old_section), old_name)


def test_settings_of_schema_2_are_not_changed():
    values = {"schema": 2, "training": {"epochs": 3}}
    assert migrate_settings(values) == {"training": {"epochs": 3}}
    assert values["schema"] == 2


def test_settings_of_a_later_schema_are_rejected():
    with pytest.raises(ConfigError, match="schema 3: written by a later version"):
        migrate_settings({"schema": 3})


@pytest.mark.parametrize(("symmetry", "expected"), [("mirror", True), ("none", False)])
def test_symmetry_becomes_flip_equivariance(symmetry, expected):
    model = {"name": "residual_cnn", "symmetry": symmetry}
    assert migrate_settings({"model": model})["model"]["flip_equivariant"] is expected
    described = migrate_model_description(
        {"schema": 1, "architecture": model, "preprocessing": {"pictures": "plain"}}
    )
    assert described["architecture"]["flip_equivariant"] is expected
    assert model["symmetry"] == symmetry


@pytest.mark.parametrize(("pictures", "tta"), [("photo", "flip"), ("fashion", "none")])
def test_models_of_photographs_averaged_flips_in_version_0_1(pictures, tta):
    described = migrate_model_description(
        {"schema": 1, "architecture": {}, "preprocessing": {"pictures": pictures}}
    )
    assert described["tta"] == tta
    assert described["preprocessing"] == {"views": pictures}


@pytest.mark.parametrize("section", ["runtime", "training", "model", "data", "augmentation"])
@pytest.mark.parametrize("value", ["5", "'text'", "[1]"])
def test_damaged_settings_of_version_0_1_are_rejected_in_one_line(section, value, tmp_path):
    lines = (FIXTURES / "run-94955e9" / "config.toml").read_text()
    path = tmp_path / "config.toml"
    path.write_text(f"{section} = {value}\n" + lines.replace(f"[{section}]", "[other]"))
    with pytest.raises(ConfigError, match=rf"config\.toml: .*{section}") as caught:
        read_settings(path)
    assert "\n" not in str(caught.value)


def test_environment_keeps_its_other_keys():
    assert migrate_environment({"schema": 1, "cores": 2, "began_from": "a"}) == {
        "schema": 2,
        "cores": 2,
        "initialized_from": "a",
    }
