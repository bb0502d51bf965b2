from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.config import override
from fashioncnn.environment import available_cores
from fashioncnn.errors import UsageError
from fashioncnn.models.trained_model import save_model
from fashioncnn.training.run import train_model
from fashioncnn.tuning.plan import plan_search, trial_settings


def test_trial_has_validation_split_and_neither_teachers_nor_test_curve(config):
    recipe = override(
        config.recipe,
        {
            "distillation.ensemble_size": 2,
            "distillation.teachers": "accurate",
            "data.validation": 0,
            "training.track_test": True,
        },
    )
    trial = trial_settings(recipe, jobs=2)
    assert trial.distillation.is_off
    assert not trial.training.track_test
    assert trial.data.validation == "auto"
    assert recipe.distillation.ensemble_size == 2


def test_parallel_trials_divide_the_cores(config, monkeypatch):
    recipe = override(config.recipe, {"runtime.threads": "auto"})
    assert trial_settings(recipe, jobs=1).runtime.threads == available_cores()
    assert trial_settings(recipe, jobs=2).runtime.threads == max(1, available_cores() // 2)
    assert trial_settings(recipe, jobs=10_000).runtime.threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert trial_settings(recipe, jobs=1).runtime.threads == 3


def test_missing_teacher_of_the_recipe_is_rejected_before_the_search(config, small):
    recipe = override(config.recipe, {"distillation.teachers": ["typo"]})
    with pytest.raises(UsageError, match=r"distillation\.teachers = typo: "):
        plan_search(recipe, config.space, "test", small)


def test_teacher_folder_of_the_recipe_is_kept_as_absolute_path(config, small):
    save_model(train_model(config.settings, small).model, Path("teacher"), "")
    recipe = override(config.recipe, {"distillation.teachers": ["teacher"]})
    planned = plan_search(recipe, config.space, "test", small)
    assert planned.recipe.distillation.teachers == (str(Path("teacher").resolve()),)
    assert not planned.settings.distillation.teachers


KERNELS = {"model": {"kernel_size": {"choices": [3, 4, 5]}}}


def test_padding_follows_the_kernel_size(plan):
    config = plan(space=KERNELS)
    paddings = [config.trial_settings({"model.kernel_size": k}).model.padding for k in (3, 4, 5)]
    assert paddings == [1, 1, 2]
    assert config.decode({"model.kernel_size": 5})["model.padding"] == 2
    assert config.to_dict()["keep_size"] is True


def test_padding_keeps_the_difference_to_the_kernel_size_of_the_recipe(plan):
    config = plan("model.kernel_size=5", "model.padding=1", space=KERNELS)
    paddings = [config.trial_settings({"model.kernel_size": k}).model.padding for k in (3, 5)]
    assert paddings == [0, 1]


def test_padding_that_is_searched_or_set_does_not_follow(plan):
    searched = {"model": {**KERNELS["model"], "padding": {"low": 0, "high": 1}}}
    values = {"model.kernel_size": 5, "model.padding": 0}
    assert plan(space=searched).decode(values)["model.padding"] == 0
    fixed = plan(space=KERNELS, fixed=["model.padding"])
    assert "model.padding" not in fixed.decode({"model.kernel_size": 5})
    assert "keep_size" not in fixed.to_dict()


def test_kernels_that_fit_only_with_their_padding_are_accepted(plan):
    channels = "model.channels=[4, 4, 4, 4]"
    large = {"model": {"kernel_size": {"choices": [3, 9]}}}
    assert plan(channels, space=large).trial_settings({"model.kernel_size": 9}).model.padding == 4
    with pytest.raises(UsageError):
        plan(channels, space=large, fixed=["model.padding"])


def test_early_stopping_needs_a_validation_split_of_the_best_recipe_too(plan):
    """Trials hold images out, but `train best.toml` trains on all of them as the recipe does."""
    with pytest.raises(UsageError, match="patience = 3: early stopping needs a validation split"):
        plan("training.patience=3", "data.validation=0")
    assert plan("training.patience=3", "data.validation=auto")
