from dataclasses import replace

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.tuning.folder import SearchFolder
from fashioncnn.tuning.study import open_study
from fashioncnn.tuning.trials import read_trials

from .helpers import complete_trials, reopen


@pytest.fixture
def draw(tmp_path):
    """Return a function that completes trials and returns their values."""

    def make(config, n=12):
        folder = SearchFolder(tmp_path / f"{config.sampler}-{config.seed}")
        folder.create()
        study = open_study(folder, config)
        complete_trials(study, config, n)
        return [t.parameters for t in read_trials(study, config)]

    return make


def test_draws_do_not_depend_on_how_often_the_study_is_opened(config, folder, draw):
    """In the random trials and in those of TPE."""
    for _ in range(12):
        complete_trials(reopen(folder, config), config, 1)
    opened_often = [t.parameters for t in read_trials(open_study(folder, config), config)]
    assert opened_often == draw(config)
    assert len({str(values) for values in opened_often}) == 12


def test_draws_depend_on_seed_and_sampler(config, draw):
    tpe, random = draw(config), draw(replace(config, sampler="random"))
    other_seed = draw(replace(config, seed=1))
    assert tpe[:5] != other_seed[:5]
    assert tpe[:10] == random[:10]  # TPE starts with random trials
    assert tpe != random
