"""What a search runs, made from a recipe."""

from pathlib import Path

import pytest

from fashioncnn.config import override
from fashioncnn.errors import UsageError
from fashioncnn.models.trained_model import save_model
from fashioncnn.tuning.plan import plan_search, trial_settings


def test_a_trial_has_neither_teachers_nor_a_test_curve_and_holds_images_out(tiny_settings):
    teachers = "distillation.ensemble_size=2", "distillation.teachers=accurate"
    recipe = tiny_settings(*teachers, "data.validation=0", "training.track_test=true")
    trial = trial_settings(recipe, jobs=2)
    assert trial.distillation.ensemble_size == 0
    assert not trial.distillation.teachers
    assert not trial.training.track_test
    assert trial.data.validation == "auto"
    assert recipe.distillation.ensemble_size == 2


def test_who_is_to_teach_the_best_is_found_before_anything_runs(plan, small, tiny_result):
    recipe = override(plan().recipe, {"distillation.teachers": ["typo"]})
    with pytest.raises(UsageError, match=r"distillation\.teachers = typo: typo: no such run"):
        plan_search(recipe, plan().space, "test", small)
    save_model(tiny_result.model, Path("teacher"), "")
    recipe = override(plan().recipe, {"distillation.teachers": ["teacher"]})
    planned = plan_search(recipe, plan().space, "test", small)
    assert planned.recipe.distillation.teachers == (str(Path("teacher").resolve()),)
    assert not planned.settings.distillation.teachers
