from dataclasses import replace

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from optuna.trial import TrialState

from fashioncnn.tuning.trials import parameter_importances, read_trials

from .helpers import ask, complete_trials


def test_trials_have_the_results_that_were_stored(config, study):
    complete_trials(study, config, 1)
    pruned = ask(study, config)
    pruned.report(0.9, 1)
    pruned.report(0.8, 2)
    study.tell(pruned, state=TrialState.PRUNED)
    ask(study, config)
    complete, stopped, running = read_trials(study, config)
    assert (complete.state, complete.epochs, complete.accuracy) == ("complete", 1, 0.5)
    assert complete.loss == complete.parameters["model.dropout"]
    assert (stopped.state, stopped.epochs, stopped.loss) == ("pruned", 2, 0.8)
    assert (running.state, running.loss, running.is_finished) == ("running", None, False)


def test_ended_trials_are_not_read_again(config, study):
    complete_trials(study, config, 1)
    ask(study, config)
    previous = [replace(t, reason="previous") for t in read_trials(study, config)]
    assert [t.reason for t in read_trials(study, config, previous)] == ["previous", None]


def test_importance_is_highest_for_the_setting_that_determines_the_loss(config, study):
    config = replace(config, sampler="random")
    complete_trials(study, config, 7)
    assert parameter_importances(study) == {}
    complete_trials(study, config, 23)
    importances = parameter_importances(study)
    assert max(importances, key=importances.get) == "model.dropout"
    assert sum(importances.values()) == pytest.approx(1)


def test_equal_losses_have_no_importances(config, study):
    complete_trials(study, config, 9, loss=lambda trial: 1.0)
    assert parameter_importances(study) == {}
