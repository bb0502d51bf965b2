"""What a search runs, made from a recipe."""

from pathlib import Path

import pytest

from fashioncnn.config import override
from fashioncnn.errors import UsageError
from fashioncnn.models.store import save_model
from fashioncnn.tuning.plan import plan_search, trial_settings


def test_a_trial_has_neither_teachers_nor_a_test_curve_and_holds_pictures_out(tiny_settings):
    teachers = "training.teachers=2", "training.taught_by=accurate"
    recipe = tiny_settings(*teachers, "data.validation=0", "training.track_test=true")
    trial = trial_settings(recipe, jobs=2)
    assert trial.training.teachers == 0
    assert not trial.training.taught_by
    assert not trial.training.track_test
    assert trial.data.validation == "auto"
    assert recipe.training.teachers == 2


def test_who_is_to_teach_the_best_is_found_before_anything_runs(plan, small, tiny_outcome):
    recipe = override(plan().recipe, {"training.taught_by": ["typo"]})
    with pytest.raises(UsageError, match=r"training\.taught_by = typo: typo: no such run"):
        plan_search(recipe, plan().space, "test", small)
    save_model(tiny_outcome.model, Path("teacher"), "")
    recipe = override(plan().recipe, {"training.taught_by": ["teacher"]})
    planned = plan_search(recipe, plan().space, "test", small)
    assert planned.recipe.training.taught_by == (str(Path("teacher").resolve()),)
    assert not planned.settings.training.taught_by
