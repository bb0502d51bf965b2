"""The best trials, trained again with other seeds."""

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.errors import InterruptedRun
from fashioncnn.reporting.trials import best_finalist, best_trial, rank_trials
from fashioncnn.tuning.finalists import read_finalists, run_finalists
from fashioncnn.tuning.journal import repair_journal
from fashioncnn.tuning.study import open_journal, requeue_running_trials

from .helpers import FakeWorkers, RecordingCallback, search_in, stop_after


@pytest.fixture
def trials(folder, config):
    return search_in(folder, config, trials=8)


@pytest.fixture
def train(folder, config, trials):
    """Return a function that trains the finalists, as a new process would."""

    def run(workers=None, *, finalists=3, seeds=2, **options):
        repair_journal(folder.finalists_journal)
        study = open_journal(folder.finalists_journal, config)
        requeue_running_trials(study, config)
        workers = workers or FakeWorkers()
        counts = {"finalists": finalists, "seeds": seeds, "jobs": options.pop("jobs", 1)}
        run_finalists(
            config, study, trials, workers, callback=RecordingCallback(), **counts, **options
        )
        return read_finalists(study, trials), workers

    return run


def lucky(settings, epoch):
    """The trial with the lowest loss owes it to its seed: all others of its seeds are bad."""
    if epoch == settings.training.epochs and settings.training.seed != 0:
        loss = 1.0 if abs(settings.model.dropout - lucky.dropout) < 1e-9 else 0.3
        return {"kind": "complete", "loss": loss, "accuracy": 0.5, "seconds": 1.0}
    return None


def test_the_lowest_mean_over_other_seeds_is_chosen(folder, config, trials, train):
    first, second, *_ = rank_trials(trials)
    lucky.dropout = first.parameters["model.dropout"]
    finalists, workers = train(FakeWorkers(lucky))
    assert {settings.training.seed for settings in workers.started} == {1, 2}
    assert len(workers.started) == 6
    chosen = best_finalist(finalists)
    assert chosen.trial.number == second.number
    assert (chosen.losses, chosen.seeds) == ((0.3, 0.3), 2)
    folder.write_best_recipe(config, trials, finalists)
    text = folder.best_recipe.read_text()
    assert f"trial {second.number}, chosen among 3 finalists of 8 trials by tpe" in text
    assert "calibrated validation loss 0.3000 ± 0.0000 over 2 other seeds" in text


def test_without_complete_finalists_the_lowest_loss_is_chosen(folder, config, trials, train):
    failure = {"kind": "failed", "reason": "the loss became nan"}
    finalists, _ = train(FakeWorkers(lambda settings, epoch: failure))
    assert best_finalist(finalists) is None
    assert [finalist.failed for finalist in finalists] == [2, 2, 2]
    folder.write_best_recipe(config, trials, finalists)
    assert f"trial {best_trial(trials).number}, best of 8" in folder.best_recipe.read_text()


def test_finalists_are_not_trained_twice_and_more_seeds_extend_them(train):
    first, _ = train()
    again, workers = train()
    assert again == first
    assert not workers.started
    more, workers = train(seeds=3)
    assert {settings.training.seed for settings in workers.started} == {3}
    assert [len(finalist.losses) for finalist in more] == [3, 3, 3]


@pytest.mark.parametrize("calls", [1, 4, 9, 14])
def test_interrupted_finalists_end_like_uninterrupted_ones(tmp_path, config, train, calls):
    with pytest.raises(InterruptedRun):
        train(stop=stop_after(calls))
    finalists, _ = train()
    assert [len(finalist.losses) for finalist in finalists] == [2, 2, 2]
    assert all(finalist.is_complete for finalist in finalists)


def test_dead_worker_repeats_the_training_with_the_same_seed(train):
    faults = iter([None, {"kind": "died", "reason": "was killed by SIGKILL"}])
    finalists, workers = train(FakeWorkers(lambda *_: next(faults, None)), jobs=2)
    seeds = [settings.training.seed for settings in workers.started]
    assert sorted(seeds) in ([1, 1, 1, 1, 2, 2, 2], [1, 1, 1, 2, 2, 2, 2])
    assert [finalist.seeds for finalist in finalists] == [2, 2, 2]
    assert all(finalist.is_complete for finalist in finalists)


def test_time_limit_leaves_finalists_for_the_next_call(train):
    finalists, workers = train(seconds=-1)
    assert not workers.started
    assert best_finalist(finalists) is None
    finalists, _ = train()
    assert best_finalist(finalists) is not None


def test_seeds_after_the_largest_one_begin_again_at_0(folder, plan):
    config = plan("training.seed=4294967295")
    trials = search_in(folder, config, trials=1)
    study, workers = open_journal(folder.finalists_journal, config), FakeWorkers()
    counts = {"finalists": 1, "seeds": 2, "jobs": 1}
    run_finalists(config, study, trials, workers, callback=RecordingCallback(), **counts)
    assert [settings.training.seed for settings in workers.started] == [0, 1]
