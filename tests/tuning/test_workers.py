"""Real processes, on a slice of the drawings; a few seconds each, most of them torch's import."""

import contextlib
import os
import signal
import time

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.config import override
from fashioncnn.data.load import load_dataset
from fashioncnn.errors import OutOfMemoryError
from fashioncnn.tuning import workers
from fashioncnn.tuning.plan import plan_search
from fashioncnn.tuning.workers import Pool


@pytest.fixture
def search(plan, idx_folder):
    recipe = override(plan().recipe, {"data.source": str(idx_folder)})
    return plan_search(recipe, plan().space, "test", load_dataset(str(idx_folder)))


@pytest.fixture
def pool(search):
    data = search.settings.data
    with contextlib.closing(Pool(data.source, data.image_size, search.data["sha256"])) as pool:
        yield pool


def hear(pool, *kinds):
    """Return the next event of one of these kinds."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for event in pool.wait(0.2):
            if event.kind in kinds:
                return event
            assert event.kind == "ready", event
    raise AssertionError(f"no {kinds}")


def train(pool, settings, go_on=True):
    pool.start(0, settings)
    losses = []
    while (event := hear(pool, "epoch", "done", "pruned", "failed")).kind == "epoch":
        losses.append(event.content["val_loss"])
        pool.answer(0, go_on)
    return event, losses


def test_a_worker_trains_one_trial_after_the_other(pool, search):
    settings = search.settings
    event, losses = train(pool, settings)
    assert event.kind == "done"
    assert event.content["loss"] == pytest.approx(losses[-1], rel=1e-6)
    again, _ = train(pool, settings)
    assert again.content["loss"] == event.content["loss"]
    event, losses = train(pool, settings, go_on=False)
    assert (event.kind, len(losses)) == ("pruned", 1)
    best = override(settings, {"training.select": "best_val", "training.epochs": 6})
    event, losses = train(pool, override(best, {"optimizer.learning_rate": 0.02}))
    assert event.content["loss"] == pytest.approx(min(losses), rel=1e-6)


def test_what_diverges_fails_and_the_worker_goes_on(pool, search):
    sgd = {"optimizer.name": "sgd", "optimizer.learning_rate": 1e12, "training.epochs": 9}
    event, _ = train(pool, override(search.settings, sgd))
    assert event.kind == "failed"
    assert "lower --learning-rate" in event.content["reason"]
    event, _ = train(pool, search.settings)
    assert event.kind == "done"


def test_a_killed_worker_is_noticed_and_replaced(pool, search):
    pool.start(0, search.settings)
    hear(pool, "epoch")
    os.kill(pool._workers[0][0].pid, signal.SIGKILL)
    died = hear(pool, "died").content
    assert died == {"reason": "was killed by SIGKILL", "ready": True, "asked": False}
    event, _ = train(pool, search.settings)
    assert event.kind == "done"
    pool.start(0, search.settings)
    os.kill(pool._workers[0][0].pid, signal.SIGTERM)
    assert hear(pool, "died").content["asked"]


def test_what_no_trial_is_to_blame_for_gets_a_fresh_worker(pool, search):
    event, _ = train(pool, search.settings)
    before = pool._workers[0][0].pid
    nothing = search.settings.training.model_copy(update={"batch_size": 0})
    event, _ = train(pool, search.settings.model_copy(update={"training": nothing}))
    assert (event.kind, event.content["strange"]) == ("failed", True)
    assert event.content["reason"].startswith("ZeroDivisionError: ")
    event, _ = train(pool, search.settings)
    assert event.kind == "done"
    assert pool._workers[0][0].pid != before


def test_a_trial_without_memory_is_not_to_blame(search, monkeypatch):
    def full(*arguments, **options):
        raise OutOfMemoryError("not enough memory")

    monkeypatch.setattr(workers, "train_model", full)
    kind, told = workers._train(search.settings, None, workers._Teller(None, os.getppid()))
    assert (kind, told["reason"], told["strange"]) == ("failed", "not enough memory", True)


def test_data_that_changed_makes_a_worker_unfit(pool, search):
    pool.sha256 = "0"
    pool.start(0, search.settings)
    assert "changed" in hear(pool, "unfit").content["reason"]
