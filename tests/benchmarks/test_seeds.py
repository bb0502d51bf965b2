"""Scripts that train: seeds, bundled weights, studies, subsets, candidates of the baseline."""

import json

import pytest

import bundle_weights
import common
import fit_baseline
import seeds
import studies
import study_variants
import subsets
from fashioncnn.config import recipe_names, resolve
from fashioncnn.models import build_model
from fashioncnn.models.trained_model import load_model


@pytest.fixture
def results(monkeypatch, tmp_path):
    """All scripts record below this folder; runs are below the working folder of the test."""
    for module in (seeds, bundle_weights, studies, fit_baseline):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(subsets, "FOLDER", tmp_path / "results" / "subsets")
    return tmp_path / "results"


def test_seed_is_trained_once_and_recorded(results, tiny_training, call, monkeypatch):
    arguments = "baseline", "--seeds", 3, "--set", "data.validation=60", "--name", "tiny"
    output = call(seeds, *arguments)
    result = common.read_result(results / "tiny" / "seed3.json")
    assert result["seed"] == result["settings"]["training"]["seed"] == 3
    assert result["settings"]["runtime"]["threads"] == 1
    assert [result[key]["n"] for key in ("validation", "test", "test_flip")] == [60, 100, 100]
    assert result["test_flip"]["tta"] == "flip"
    assert len(result["history"]) == 1
    assert f"test accuracy {result['test']['accuracy']:.4f}" in output

    monkeypatch.setattr(seeds, "train_seed", lambda *_: pytest.fail("trained again"))
    assert call(seeds, *arguments) == ""
    with pytest.raises(SystemExit, match="was trained with other settings"):
        call(seeds, *arguments, "--set", "training.label_smoothing=0.1")


def test_test_split_is_not_read_on_request(results, tiny_training, call):
    settings = ["--set", "data.validation=60", "training.track_test=false"]
    call(seeds, "baseline", "--seeds", 0, "--no-test", *settings)
    result = common.read_result(results / "baseline" / "seed0.json")
    assert result["test"] is None
    assert "test_flip" not in result
    assert result["validation"]["n"] == 60


def test_recorded_seed_of_version_0_1_has_the_settings_of_its_recipe(small, monkeypatch):
    from dataclasses import replace

    from fashioncnn.training.prepare import prepare_settings

    official = replace(small, name="fashion-mnist")
    for recipe in ("fast93", "accurate"):
        flags = {"seed": 0, "threads": 1}
        settings = prepare_settings(resolve(recipe, flags=flags), official)
        seeds.check_same_settings(common.RESULTS / recipe / "seed0.json", settings)


def test_card_of_bundled_weights_can_be_rewritten_without_the_run(
    results, tiny_training, call, monkeypatch, tmp_path
):
    monkeypatch.setattr(bundle_weights, "WEIGHTS", tmp_path / "weights")
    call(seeds, "baseline", "--seeds", 0)
    assert " MB" in call(bundle_weights, "baseline")
    card = tmp_path / "weights" / "baseline" / "README.md"
    written = card.read_text()
    assert "`python benchmarks/bundle_weights.py baseline`, with torch" in written
    assert load_model(card.parent).parameters > 0
    card.write_text("")
    call(bundle_weights, "baseline", "--card")
    assert card.read_text() == written


def test_study_trains_what_is_not_recorded(results, tiny_training, call, monkeypatch):
    study = study_variants.Study(
        "baseline", study_variants.BASELINE_SETTINGS, {"flip": ["augmentation.flip=0.5"]}
    )
    monkeypatch.setitem(studies.STUDIES, "tiny", study)
    monkeypatch.setattr(studies, "ProcessPoolExecutor", SynchronousPool)
    arguments = "tiny", "--epochs", 1, "--seeds", 0
    assert "2 of 2: " in call(studies, *arguments)
    recorded = common.read_result(results / "tiny" / "1" / "flip-seed0.json")
    assert recorded["settings"]["augmentation"]["flip"] == 0.5
    assert recorded["validation"]["n"] == 50
    output = call(studies, *arguments)
    assert " of " not in output, "trained again"
    assert "| flip 0.5 | 1 | " in output


class SynchronousPool:
    """A process pool that runs in this process."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def submit(self, function, *arguments, **options):
        from concurrent.futures import Future

        future = Future()
        future.set_result(function(*arguments, **options))
        return future


def test_subset_is_trained_once_and_recorded(results, tiny_training, call, tmp_path):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text('[optimizer]\nname = "adam"\nlearning_rate = 0.001\n')
    arguments = recipe, "--images", 100, "--validation", 40, "--epochs", 1
    row = "| `tiny` | 0.01 M | 0 M | 100 | 1 | 0 | "
    assert row in call(subsets, *arguments)
    result = json.loads((results / "subsets" / "tiny.json").read_text())
    assert result["validation"]["n"] == 40
    assert row in call(subsets, *arguments), "the recorded result"


@pytest.mark.parametrize("name", ["images", "validation", "epochs"])
def test_recorded_result_of_another_subset_is_rejected(name, results, call):
    settings = {"data": {"validation": 2000}, "training": {"epochs": 3}}
    common.write_result(
        results / "subsets" / "medium.json", {"images": 10_000, "settings": settings}
    )
    message = "with 10,000 training images, 2,000 validation images and 3 epochs"
    with pytest.raises(SystemExit, match=message):
        call(subsets, "medium.toml", f"--{name}", 1)


def test_recipes_that_were_never_trained_to_the_end_are_not_bundled():
    import torch

    recipes = [common.RECIPES / f"{name}.toml" for name in ("medium", "record")]
    assert not {path.stem for path in recipes} & set(recipe_names())
    for path in recipes:
        with torch.device("meta"):
            build_model(resolve(str(path), environment={}).model, 28, 10)


def test_candidates_are_evaluated_without_flip(monkeypatch, call):
    calls = []
    monkeypatch.setattr(fit_baseline, "run_seed", lambda *a, **options: calls.append((a, options)))
    call(fit_baseline, "--only", "k3-p1-h256", "k3-p1-h512", "--seeds", 1)
    paths = [arguments[0] for arguments, _ in calls]
    folders = common.RESULTS / "baseline", common.RESULTS / "fit_baseline" / "k3-p1-h512"
    assert paths == [folder / "seed1.json" for folder in folders]
    assert calls[1][0][1:] == ("baseline", 1, ["model.hidden=512"])
    assert calls[0][1] == {"threads": 1, "test": True, "flip": False}
