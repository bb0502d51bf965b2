import tomllib
from dataclasses import replace

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.config import override, resolve
from fashioncnn.errors import OtherVersionError, RunError, UsageError
from fashioncnn.reporting.trials import best_trial
from fashioncnn.tuning.parsing import parse_space
from fashioncnn.tuning.trials import read_trials

from .helpers import complete_trials


def test_folder_with_other_files_is_rejected(folder):
    (folder.path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="contains other files and no search"):
        folder.create()


def test_folder_with_temporary_files_only_is_accepted(folder):
    (folder.path / ".search.toml.x1").write_text("half")
    folder.create()


def test_folder_is_locked_for_one_process(folder):
    with (
        folder.lock(),
        pytest.raises(RunError, match="another process is searching in this folder"),
        folder.lock(),
    ):
        pass


def test_config_describes_the_search(folder, config):
    folder.store_config(config)
    content = tomllib.loads(folder.config.read_text())
    assert content["schema"] == 2
    assert content["space"]["model.dropout"] == {"low": 0.0, "high": 0.7, "log": False}
    assert content["settings"]["data"]["validation"] == 50
    assert "source" not in content["settings"]["data"]
    assert content["settings"]["runtime"] == {"precision": "fp32"}


DROPOUT = {"model": {"dropout": {"low": 0.0, "high": 0.6}}}


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"seed": 1}, "seed is 0 there and 1 now"),
        ({"sampler": "random"}, 'sampler is "tpe" there and "random" now'),
        ({"data": {"name": "sketches", "sha256": "0"}}, "data.sha256 is "),
        ({"space": parse_space(DROPOUT, "")}, "space.model.dropout.high is 0.7 there and 0.6 now"),
        ({"training.epochs": 3}, "settings.training.epochs is 2 there and 3 now"),
        (
            {"optimizer.name": "sgd", "optimizer.learning_rate": 0.1},
            "settings.optimizer.betas is [0.9, 0.999] there and not set now",
        ),
    ],
    ids=lambda value: str(value)[:20],
)
def test_other_search_is_rejected_with_the_differences(folder, config, change, difference):
    folder.store_config(config)
    before = folder.config.read_bytes()
    if any("." in key for key in change):
        other = replace(config, settings=override(config.settings, change))
    else:
        other = replace(config, **change)
    with pytest.raises(UsageError) as caught:
        folder.store_config(other)
    assert difference in str(caught.value)
    assert "\n" not in str(caught.value)
    assert folder.config.read_bytes() == before


def test_same_search_with_other_paths_and_threads_is_accepted(folder, config):
    folder.store_config(config)
    changes = {"runtime.threads": 7, "data.source": "elsewhere", "description": "other"}
    folder.store_config(replace(config, settings=override(config.settings, changes)))


def test_search_stored_without_a_newer_setting_is_accepted(folder, config):
    folder.store_config(config)
    lines = folder.config.read_text().splitlines(keepends=True)
    older = [line for line in lines if not line.startswith("ema_decay")]
    assert len(older) == len(lines) - 1
    folder.config.write_text("".join(older))
    folder.store_config(config)


def test_search_of_version_0_1_is_rejected(folder, config):
    folder.store_config(config)
    text = folder.config.read_text().replace("schema = 2", "schema = 1")
    folder.config.write_text(text.replace("ema_decay", "averaging"))
    with pytest.raises(OtherVersionError, match=r"schema 1.*start a new search in another folder"):
        folder.store_config(config)


@pytest.mark.parametrize("content", [b"seed = ", b"seed = 0\n", b"\xff"])
def test_damaged_config_is_rejected(folder, config, content):
    folder.config.write_bytes(content)
    with pytest.raises(RunError, match="damaged"):
        folder.store_config(config)


def test_best_recipe_keeps_the_recipe_and_has_the_best_values(folder, config, study):
    complete_trials(study, config, 3)
    trials = read_trials(study, config)
    folder.write_best_recipe(config, trials)
    settings = resolve(str(folder.best_recipe), environment={})
    best = best_trial(trials)
    assert settings.model.dropout == min(t.loss for t in trials) == best.loss
    assert settings.optimizer.learning_rate == best.parameters["optimizer.learning_rate"]
    assert settings.training.epochs == 2
    assert settings.data.validation == 0  # of baseline, which trains on all images
    assert settings.data.source is None
    assert not settings.training.track_test
    assert settings.runtime == resolve("baseline", environment={}).runtime
    assert f"baseline, tuned: trial {best.number}, best of 3 by tpe" in settings.description


def test_no_best_recipe_is_written_without_complete_trial(folder, config):
    folder.write_best_recipe(config, [])
    assert not folder.best_recipe.exists()


def test_best_recipe_of_version_0_1_is_rejected_with_the_new_keys(folder):
    folder.best_recipe.write_text(
        '[optimizer]\nname = "adam"\nlearning_rate = 1e-3\n[training]\naveraging = 0.9\n'
    )
    with pytest.raises(UsageError, match=r"training\.averaging: renamed to training\.ema_decay"):
        resolve(str(folder.best_recipe), environment={})


@pytest.mark.parametrize(("requested", "precision"), [("auto", "bf16"), ("fp32", "fp32")])
def test_a_resumed_search_keeps_the_precision_that_it_selected(
    folder, config, requested, precision
):
    started = replace(config, settings=override(config.settings, {"runtime.precision": "bf16"}))
    assert folder.with_recorded_precision(started) == started
    folder.store_config(started)
    recipe = override(config.recipe, {"runtime.precision": requested})
    today = replace(config, recipe=recipe)
    assert today.settings.runtime.precision == "fp32"
    resumed = folder.with_recorded_precision(today)
    assert resumed.settings.runtime.precision == precision
    folder.config.write_text("schema = 2")
    assert folder.with_recorded_precision(today) == today
