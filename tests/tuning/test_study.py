import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.tuning.folder import SearchFolder
from fashioncnn.tuning.study import open_study, requeue_trial
from fashioncnn.tuning.trials import read_trials

from .helpers import ask, complete_trials, reopen


def states(study, config):
    return [trial.state for trial in read_trials(study, config)]


def test_first_trial_has_the_values_of_the_recipe(plan, folder):
    config = plan("training.batch_size=64")
    study = open_study(folder, config)
    complete_trials(study, config, 2)
    first, second = read_trials(study, config)
    assert first.parameters["optimizer.learning_rate"] == 1e-3
    assert (first.from_recipe, second.from_recipe) == (True, False)


def test_recipe_outside_the_space_is_not_tried(plan, tmp_path):
    config = plan("training.batch_size=16")
    folder = SearchFolder(tmp_path)
    study = open_study(folder, config)
    complete_trials(study, config, 1)
    assert not read_trials(study, config)[0].from_recipe


@pytest.mark.parametrize("finished", [0, 12], ids=["random", "tpe"])
def test_trial_left_running_by_a_dead_process_runs_again(folder, config, study, finished):
    complete_trials(study, config, finished)
    running = ask(study, config)
    running.report(0.9, 1)
    study = reopen(folder, config)
    again = ask(study, config)
    assert again.params == running.params
    assert states(study, config) == ["complete"] * finished + ["interrupted", "running"]
    study.tell(again, 0.5)
    assert ask(study, config).params != running.params


def test_process_killed_while_requeuing_queues_the_trial_once(folder, config, study, monkeypatch):
    running = ask(study, config)

    def kill(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "tell", kill)
    with pytest.raises(KeyboardInterrupt):
        requeue_trial(study, config, study.trials[0])
    study = reopen(folder, config)
    assert states(study, config) == ["interrupted", "waiting"]
    assert ask(study, config).params == running.params


def test_process_killed_while_storing_a_failure_leaves_the_trial_failed(folder, config, study):
    ask(study, config).set_user_attr("reason", "the loss became nan")
    assert states(reopen(folder, config), config) == ["failed"]
