"""The search with workers that train nothing, so that every event can be chosen."""

import itertools
import math
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.errors import InterruptedRun, RunError
from fashioncnn.reporting.trials import best_trial
from fashioncnn.tuning.events import Event
from fashioncnn.tuning.folder import SearchFolder
from fashioncnn.tuning.loop import MAX_ATTEMPTS, MAX_UNEXPECTED_FAILURES

from .helpers import TRIALS, FakeWorkers, RecordingCallback, finished_results, search_in, stop_after


def faults(*events):
    """Return a fault function that yields these events one after another, then none."""
    remaining = iter(events)
    return lambda settings, epoch: next(remaining, None)


KILLED = {"kind": "died", "reason": "was killed by SIGKILL"}
TERMINATED = {"kind": "died", "reason": "was killed by SIGTERM", "was_terminated": True}


def test_search_finds_low_losses_and_prunes_high_ones(folder, long_config):
    trials = search_in(folder, long_config, trials=25)
    assert len(trials) == sum(t.is_finished for t in trials) == 25
    best = best_trial(trials)
    assert best.loss < 0.25
    pruned = [t for t in trials if t.state == "pruned"]
    assert len(pruned) > 3
    assert all(t.epochs < 4 for t in pruned)
    assert f"trial {best.number}, best of" in folder.best_recipe.read_text()


def test_search_with_more_trials_continues_the_same_sequence(folder, long_config, uninterrupted):
    assert finished_results(search_in(folder, long_config, trials=7)) == uninterrupted[:7]
    assert finished_results(search_in(folder, long_config)) == uninterrupted
    workers = FakeWorkers()
    assert finished_results(search_in(folder, long_config, workers, trials=5)) == uninterrupted
    assert not workers.started


@pytest.mark.parametrize("calls", [1, 2, 5, 40])
def test_resumed_search_equals_uninterrupted_one(folder, long_config, uninterrupted, calls):
    with pytest.raises(InterruptedRun):
        search_in(folder, long_config, stop=stop_after(calls))
    assert finished_results(search_in(folder, long_config)) == uninterrupted


def test_search_interrupted_repeatedly_equals_uninterrupted_one(folder, long_config, uninterrupted):
    for _ in range(5):
        with pytest.raises(InterruptedRun):
            search_in(folder, long_config, stop=stop_after(9))
    assert finished_results(search_in(folder, long_config)) == uninterrupted


def test_search_beyond_time_limit_ends_without_running_trials(folder, config, monkeypatch):
    seconds = itertools.count(time.monotonic())
    clock = SimpleNamespace(monotonic=seconds.__next__)  # advances by 1 s in each round
    monkeypatch.setattr("fashioncnn.tuning.loop.time", clock)
    trials = search_in(folder, config, trials=math.inf, seconds=10)
    assert [t.state for t in trials if t.state == "running"] == []
    assert sum(t.is_finished for t in trials) == 3  # of three rounds each
    monkeypatch.undo()
    assert search_in(folder, config, trials=1) == trials


def test_trial_of_dead_worker_runs_again(folder, long_config, uninterrupted):
    callback = RecordingCallback()
    workers = FakeWorkers(faults(*[None] * 8, KILLED))
    trials = search_in(folder, long_config, workers, callback=callback)
    assert callback.states.count("interrupted") == 1
    assert finished_results(trials) == uninterrupted
    interrupted = next(t for t in trials if t.state == "interrupted")
    assert sum(t.parameters == interrupted.parameters for t in trials) == 2


def test_trial_that_kills_every_worker_fails(folder, config):
    workers = FakeWorkers(lambda settings, _: KILLED if settings.model.dropout > 0.5 else None)
    trials = search_in(folder, config, workers, trials=10)
    failed = [t for t in trials if t.state == "failed"]
    assert failed
    interrupted = [t for t in trials if t.state == "interrupted"]
    assert len(interrupted) == (MAX_ATTEMPTS - 1) * len(failed)
    assert failed[0].reason == "its worker was killed by SIGKILL, in 3 attempts"


def test_terminated_workers_do_not_count_as_attempts(folder, long_config, uninterrupted):
    workers = FakeWorkers(faults(*[TERMINATED] * (MAX_ATTEMPTS + 1)))
    assert finished_results(search_in(folder, long_config, workers)) == uninterrupted


def test_workers_that_die_before_ready_end_the_search(folder, long_config, uninterrupted):
    dead = {"kind": "died", "reason": "ended with exit code 1", "was_ready": False}
    workers = FakeWorkers(lambda *_: dead)
    with pytest.raises(RunError, match=r"5 consecutive trials failed .*ended with exit code 1"):
        search_in(folder, long_config, workers)
    assert len(workers.started) == MAX_UNEXPECTED_FAILURES
    assert finished_results(search_in(folder, long_config, trials=5)) == uninterrupted[:5]


def test_consecutive_unexpected_failures_end_the_search(folder, config):
    failure = {"kind": "failed", "reason": "RuntimeError: GPU error", "unexpected": True}
    good = iter([True] * 3)
    workers = FakeWorkers(lambda _, epoch: None if epoch or next(good, False) else failure)
    with pytest.raises(RunError, match="RuntimeError: GPU error; fix the cause"):
        search_in(folder, config, workers)
    assert len(workers.started) == 3 + MAX_UNEXPECTED_FAILURES


def test_result_that_arrives_with_the_stop_request_is_stored(folder, config):
    """Epoch 1, epoch 2 and the result are three rounds with two calls of `stop` each."""
    with pytest.raises(InterruptedRun):
        search_in(folder, config, trials=1, stop=stop_after(5))
    assert search_in(folder, config, FakeWorkers(), trials=1)[0].state == "complete"


def test_death_that_arrives_with_the_stop_request_does_not_count(folder, config):
    callback = RecordingCallback()
    workers = FakeWorkers(lambda *_: KILLED)
    with pytest.raises(InterruptedRun):
        search_in(folder, config, workers, callback=callback, stop=stop_after(1))
    assert callback.states == []


def test_failed_trial_is_stored_and_search_continues(folder, config):
    def diverge(settings, epoch):
        if settings.optimizer.learning_rate > 3e-3 and epoch == 1:
            return {"kind": "failed", "reason": "the loss became nan", "seconds": 1.0}
        return None

    trials = search_in(folder, config, FakeWorkers(diverge))
    failed = [t for t in trials if t.state == "failed"]
    assert {t.reason for t in failed} == {"the loss became nan"}
    assert sum(t.is_finished for t in trials) == TRIALS
    assert best_trial(trials).loss < 1


def test_hanging_trial_is_killed_and_the_search_goes_on(folder, config, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr("fashioncnn.tuning.loop.time", SimpleNamespace(monotonic=seconds.__next__))

    class HangingWorkers(FakeWorkers):
        def wait(self, seconds):
            return [] if len(self.started) == 2 else super().wait(seconds)

    workers = HangingWorkers()
    trials = search_in(folder, config, workers, trials=4, trial_timeout=30)
    assert [t.state for t in trials] == ["complete", "failed", "complete", "complete"]
    assert trials[1].reason == "no progress for 30 s (--trial-timeout), killed"


def test_signs_of_life_keep_a_slow_trial_alive(folder, config, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr("fashioncnn.tuning.loop.time", SimpleNamespace(monotonic=seconds.__next__))
    signs = iter([True] * 100)

    class SlowWorkers(FakeWorkers):
        def wait(self, seconds):
            return [Event(0, "progress")] if next(signs, False) else super().wait(seconds)

    (trial,) = search_in(folder, config, SlowWorkers(), trials=1, trial_timeout=5)
    assert trial.state == "complete"


def test_trials_that_all_hang_end_the_search(folder, config, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr("fashioncnn.tuning.loop.time", SimpleNamespace(monotonic=seconds.__next__))
    monkeypatch.setattr(FakeWorkers, "wait", lambda self, seconds: [])
    with pytest.raises(RunError, match="the last with: no progress for 30 s"):
        search_in(folder, config, trial_timeout=30)


def test_time_for_the_finalists_is_left_at_the_end(folder, config, monkeypatch):
    def train(reserved_runs, name):
        seconds = itertools.count()
        clock = SimpleNamespace(monotonic=seconds.__next__)
        for module in ("loop", "search"):
            monkeypatch.setattr(f"fashioncnn.tuning.{module}.time", clock)
        other = SearchFolder(folder.path / name)
        other.create()
        options = {"trials": math.inf, "seconds": 40, "reserved_runs": reserved_runs}
        return sum(t.is_finished for t in search_in(other, config, **options))

    assert train(20, "with") < train(0, "without")


def test_pruners(folder, plan):
    config = plan(epochs=4, pruner="none")
    assert {t.state for t in search_in(folder, config, trials=25)} == {"complete"}
    hyperband = SearchFolder(folder.path / "hyperband")
    hyperband.create()
    trials = search_in(hyperband, plan(epochs=4, pruner="hyperband"), trials=25)
    assert any(t.state == "pruned" for t in trials)


def test_unusable_worker_ends_the_search(folder, config):
    workers = FakeWorkers(lambda *_: {"kind": "unusable", "reason": "no data"})
    with pytest.raises(RunError, match="a worker cannot train: no data"):
        search_in(folder, config, workers)


def test_parallel_jobs_train_the_requested_number_of_trials(folder, config):
    workers = FakeWorkers()
    trials = search_in(folder, config, workers, jobs=3, trials=11)
    assert sum(t.is_finished for t in trials) == len(workers.started) == 11


def test_workers_get_the_values_of_their_trial(folder, config):
    workers = FakeWorkers()
    trials = search_in(folder, config, workers, trials=4)
    for trial, settings in zip(trials, workers.started, strict=True):
        assert trial.parameters["model.hidden"] == settings.model.hidden
        assert trial.parameters["model.dropout"] == settings.model.dropout
        assert settings.data.validation == 50
        assert not settings.training.track_test
