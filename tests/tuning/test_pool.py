"""The pool of workers: its side of the pipes, and one test with real processes."""

import contextlib
import multiprocessing
import os
import signal
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.config import override
from fashioncnn.data.load import load_dataset
from fashioncnn.tuning.events import Event
from fashioncnn.tuning.plan import plan_search
from fashioncnn.tuning.pool import WorkerPool


class FakeProcesses:
    """Stands in for `WorkerPool._spawn`: the test holds the workers' ends of the pipes."""

    def __init__(self):
        self.pipes = []
        self.exitcode = 0

    def spawn(self, worker):
        ours, theirs = multiprocessing.Pipe()
        self.pipes.append(theirs)
        process = SimpleNamespace(
            exitcode=self.exitcode, join=lambda *_: None, terminate=lambda: None, is_alive=bool
        )
        return process, ours


@pytest.fixture
def processes():
    processes = FakeProcesses()
    yield processes
    for pipe in processes.pipes:
        pipe.close()


@pytest.fixture
def pool(processes, monkeypatch):
    pool = WorkerPool("sketches", None, "0")
    monkeypatch.setattr(pool, "_spawn", processes.spawn)
    with contextlib.closing(pool):
        yield pool


def test_pool_passes_settings_events_and_replies(pool, processes, config):
    pool.start(0, config.settings)
    (pipe,) = processes.pipes
    assert pipe.recv() == config.settings
    pipe.send(Event(0, "epoch", epoch=1, loss=0.5))
    assert pool.wait(1) == [Event(0, "epoch", epoch=1, loss=0.5)]
    pool.reply(0, proceed=True)
    assert pipe.recv() is True


def test_pool_reuses_a_worker(pool, processes, config):
    pool.start(0, config.settings)
    pool.start(0, config.settings)
    assert len(processes.pipes) == 1


def test_pool_waits_no_longer_than_asked(pool):
    assert pool.wait(0) == []


@pytest.mark.parametrize(
    ("exitcode", "is_ready", "expected"),
    [
        (-9, True, Event(0, "died", reason="was killed by SIGKILL")),
        (-15, True, Event(0, "died", reason="was killed by SIGTERM", was_terminated=True)),
        (-2, True, Event(0, "died", reason="was killed by SIGINT", was_terminated=True)),
        (-200, True, Event(0, "died", reason="ended with exit code -200")),
        (1, False, Event(0, "died", reason="ended with exit code 1", was_ready=False)),
    ],
    ids=["SIGKILL", "SIGTERM", "SIGINT", "unknown signal", "before it was ready"],
)
def test_pool_describes_how_a_worker_died(pool, processes, config, exitcode, is_ready, expected):
    processes.exitcode = exitcode
    pool.start(0, config.settings)
    if is_ready:
        processes.pipes[0].send(Event(0, "ready"))
        assert pool.wait(1)[0].kind == "ready"
    processes.pipes[0].close()
    assert pool.wait(1) == [expected]
    pool.start(0, config.settings)
    assert len(processes.pipes) == 2


def test_pool_ignores_messages_to_a_worker_that_just_died(pool, processes, config):
    pool.start(0, config.settings)
    processes.pipes[0].close()
    pool.reply(0, proceed=True)
    pool.start(0, config.settings)
    assert pool.wait(1)[0].kind == "died"


def test_pool_replaces_a_worker_after_an_unexpected_failure(pool, processes, config):
    pool.start(0, config.settings)
    processes.pipes[0].send(Event(0, "failed", reason="GPU error", unexpected=True))
    assert pool.wait(1)[0].kind == "failed"
    pool.start(0, config.settings)
    assert len(processes.pipes) == 2


def wait_for(pool, *kinds):
    """Return the next event of these kinds."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for event in pool.wait(0.2):
            if event.kind in kinds:
                return event
            assert event.kind in ("ready", "progress"), event
    raise AssertionError(f"no event of {kinds}")


@pytest.mark.slow
def test_killed_process_is_replaced_and_close_ends_all_processes(config, idx_folder):
    recipe = override(config.recipe, {"data.source": str(idx_folder)})
    dataset = load_dataset(str(idx_folder))
    config = plan_search(recipe, config.space, "test", dataset)
    pool = WorkerPool(str(idx_folder), None, dataset.train.sha256)
    with contextlib.closing(pool):
        pool.start(0, config.settings)
        wait_for(pool, "epoch")
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        assert wait_for(pool, "died") == Event(0, "died", reason="was killed by SIGKILL")
        pool.start(0, config.settings)
        losses = []
        while (event := wait_for(pool, "epoch", "complete")).kind == "epoch":
            losses.append(event.loss)
            pool.reply(0, proceed=True)
        assert event.loss == pytest.approx(losses[-1], rel=1e-6)
        pool.start(0, config.settings)
        wait_for(pool, "epoch")
    assert multiprocessing.active_children() == []
