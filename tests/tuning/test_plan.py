"""What a search runs, made from a recipe."""

from fashioncnn.tuning.plan import trial_settings


def test_a_trial_has_neither_teachers_nor_a_test_curve_and_holds_pictures_out(tiny_settings):
    teachers = "training.teachers=2", "training.taught_by=accurate"
    recipe = tiny_settings(*teachers, "data.validation=0", "training.track_test=true")
    trial = trial_settings(recipe, jobs=2)
    assert trial.training.teachers == 0
    assert not trial.training.taught_by
    assert not trial.training.track_test
    assert trial.data.validation == "auto"
    assert recipe.training.teachers == 2
