"""The search with workers that only pretend to train, so that every moment can be chosen."""

import math

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.errors import InterruptedRun, RunError
from fashioncnn.tuning.search import MOST_ATTEMPTS, MOST_STRANGE, run_search
from fashioncnn.tuning.study import best_of, ended, mend_journal, open_study, recover
from fashioncnn.tuning.workers import Event


def bowl(settings):
    """A loss that is least for learning rate 1e-3 and dropout 0.3."""
    return (
        0.2
        + math.log10(settings.optimizer.learning_rate / 1e-3) ** 2
        + (settings.model.dropout - 0.3) ** 2
    )


class PretendedWorkers:
    """Workers that take an event for every epoch and one more for the end."""

    def __init__(self, loss=bowl, fault=lambda settings, epoch: None):
        self.loss, self.fault = loss, fault
        self.busy = {}
        self.waiting = set()
        self.begun = []

    def start(self, worker, settings):
        assert worker not in self.busy
        self.busy[worker] = [settings, 0]
        self.begun.append(settings)

    def answer(self, worker, go_on):
        self.waiting.remove(worker)
        if not go_on:
            self.busy[worker][1] = -1

    def wait(self, seconds):
        return [self._next(worker) for worker in list(self.busy)]

    def _next(self, worker):
        assert worker not in self.waiting, "an epoch was not answered"
        settings, epoch = self.busy[worker]
        fault = self.fault(settings, epoch)
        content = {"accuracy": 0.5, "seconds": 1.0}
        if fault or epoch in (-1, settings.training.epochs):
            del self.busy[worker]
        if fault:
            return Event(worker, *fault)
        if epoch == -1:
            return Event(worker, "pruned", content)
        loss = self.loss(settings)
        if epoch == settings.training.epochs:
            return Event(worker, "done", {**content, "loss": loss})
        self.busy[worker][1] += 1
        self.waiting.add(worker)
        return Event(worker, "epoch", {"epoch": epoch + 1, "val_loss": loss + 1 / (epoch + 1)})


class Told:
    """An observer that remembers."""

    def __init__(self):
        self.states = []

    def show(self, state):
        pass

    def trial(self, trial, state):
        self.states.append(trial["state"])


@pytest.fixture
def go(folder):
    def search_on(search, workers=None, *, trials=20, jobs=1, stop=lambda: None, told=None, **more):
        folder.bind(search)
        mend_journal(folder.journal)
        study = open_study(folder, search)
        recover(study, search)
        return run_search(
            search,
            folder,
            study,
            workers or PretendedWorkers(),
            jobs=jobs,
            trials=trials,
            observer=told or Told(),
            stop=stop,
            **more,
        )

    return search_on


def stop_after(calls):
    left = iter([None] * calls)
    return lambda: next(left, InterruptedRun("enough"))


def result(trials):
    return [(t["state"], t["loss"], t["parameters"]) for t in trials if ended(t)]


@pytest.fixture
def undisturbed(plan, tmp_path, go, folder):
    search = plan(epochs=4)
    trials = go(search)
    for path in folder.path.iterdir():
        path.unlink()
    return result(trials)


def test_it_finds_what_is_good_and_stops_what_is_not(plan, go, folder):
    trials = go(plan(epochs=4), trials=40)
    assert len(trials) == sum(map(ended, trials)) == 40
    best = best_of(trials)
    assert best["loss"] < 0.25
    pruned = [t for t in trials if t["state"] == "pruned"]
    assert len(pruned) > 3
    assert all(t["epochs"] < 4 for t in pruned)
    assert f"trial {best['number']}, best of" in folder.best.read_text()


def test_more_trials_go_on_from_those_there_are(plan, go, undisturbed):
    search = plan(epochs=4)
    first = go(search, trials=7)
    assert result(first) == undisturbed[:7]
    assert result(go(search, trials=20)) == undisturbed
    workers = PretendedWorkers()
    assert result(go(search, workers, trials=5)) == undisturbed
    assert not workers.begun


@pytest.mark.parametrize("calls", [1, 2, 5, 23, 60])
def test_stopped_and_called_again_equals_never_stopped(plan, go, undisturbed, calls):
    search = plan(epochs=4)
    with pytest.raises(InterruptedRun):
        go(search, stop=stop_after(calls))
    assert result(go(search)) == undisturbed


def test_stopped_again_and_again(plan, go, undisturbed):
    search = plan(epochs=4)
    for _ in range(8):
        with pytest.raises(InterruptedRun):
            go(search, stop=stop_after(9))
    assert result(go(search)) == undisturbed


def test_time_that_is_up_ends_it_without_an_error(plan, go):
    trials = go(plan(), trials=math.inf, seconds=0.3)
    assert trials[-1]["state"] in ("lost", "waiting", "complete", "pruned")
    assert not [t for t in trials if t["state"] == "running"]
    assert trials == go(plan(), trials=1)


def test_a_dead_worker_loses_its_trial_alone_and_it_is_run_again(plan, go, undisturbed):
    deaths = iter([False] * 8 + [True] + [False] * 1000)
    workers = PretendedWorkers(
        fault=lambda settings, epoch: next(deaths) and ("died", {"reason": "was killed"})
    )
    told = Told()
    trials = go(plan(epochs=4), workers, told=told)
    assert told.states.count("lost") == 1
    assert result(trials) == undisturbed
    lost = next(t for t in trials if t["state"] == "lost")
    assert sum(t["parameters"] == lost["parameters"] for t in trials) == 2


def test_a_trial_that_kills_every_worker_fails_in_the_end(plan, go):
    def fault(settings, epoch):
        return ("died", {"reason": "was killed"}) if settings.model.dropout > 0.5 else None

    trials = go(plan(), PretendedWorkers(fault=fault))
    failed = [t for t in trials if t["state"] == "failed"]
    lost = [t for t in trials if t["state"] == "lost"]
    assert failed
    assert len(lost) == (MOST_ATTEMPTS - 1) * len(failed)
    assert "was killed, 3 times" in failed[0]["reason"]
    assert sum(map(ended, trials)) == 20


def test_who_is_ended_on_purpose_is_not_to_blame(plan, go, undisturbed):
    deaths = iter([True] * (MOST_ATTEMPTS + 1) + [False] * 1000)
    asked = {"reason": "was killed by SIGTERM", "asked": True}
    workers = PretendedWorkers(fault=lambda settings, epoch: next(deaths) and ("died", asked))
    trials = go(plan(epochs=4), workers)
    assert result(trials) == undisturbed


def test_workers_that_die_before_they_are_ready_end_it_and_cost_no_trial(plan, go, undisturbed):
    stillborn = {"reason": "ended with 1", "ready": False}
    workers = PretendedWorkers(fault=lambda *_: ("died", stillborn))
    with pytest.raises(RunError, match=r"5 trials in a row could not be trained.*ended with 1"):
        go(plan(epochs=4), workers)
    assert len(workers.begun) == MOST_STRANGE
    assert result(go(plan(epochs=4))) == undisturbed


def test_failures_in_a_row_that_are_not_the_trials_own_end_it(plan, go):
    reason = {"reason": "RuntimeError: the GPU is gone", "strange": True, "seconds": 1.0}
    good = iter([True] * 3 + [False] * 100)
    workers = PretendedWorkers(
        fault=lambda settings, epoch: None if epoch or next(good) else ("failed", reason)
    )
    with pytest.raises(RunError, match="the GPU is gone; mend that, and call again"):
        go(plan(), workers)
    assert len(workers.begun) == 3 + MOST_STRANGE


def test_what_has_ended_is_heard_also_when_it_is_stopped(plan, go):
    """Workers die of the same signal; who had done his work has not done it in vain."""
    workers = PretendedWorkers()
    with pytest.raises(InterruptedRun):
        go(plan(), workers, trials=1, stop=stop_after(5))
    assert go(plan(), trials=1)[0]["state"] == "complete"


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(plan, go):
    def fault(settings, epoch):
        high = settings.optimizer.learning_rate > 3e-3 and epoch == 1
        return ("failed", {"reason": "the loss became nan", "seconds": 1.0}) if high else None

    trials = go(plan(), PretendedWorkers(fault=fault))
    failed = [t for t in trials if t["state"] == "failed"]
    assert {t["reason"] for t in failed} == {"the loss became nan"}
    assert sum(map(ended, trials)) == 20
    assert best_of(trials)["loss"] < 1


def test_workers_that_cannot_train_end_it(plan, go):
    workers = PretendedWorkers(fault=lambda *_: ("unfit", {"reason": "no data"}))
    with pytest.raises(RunError, match="no data"):
        go(plan(), workers)


def test_several_at_once_are_as_many_trials(plan, go):
    workers = PretendedWorkers()
    trials = go(plan(), workers, jobs=3, trials=11)
    assert sum(map(ended, trials)) == len(workers.begun) == 11


def test_every_trial_has_the_searched_values_and_no_test_part(plan, go):
    workers = PretendedWorkers()
    trials = go(plan(), workers, trials=4)
    for trial, settings in zip(trials, workers.begun, strict=True):
        assert trial["parameters"]["model.hidden"] == settings.model.hidden
        assert settings.data.validation == 50
        assert not settings.training.track_test
