"""Several processes that serve one socket."""

import os
import signal

import httpx
import pytest

from .conftest import TIMEOUT, wait_until
from .process import children, is_running, serving
from .test_drain import Load

pytestmark = pytest.mark.slow


def post(server, png):
    return httpx.post(f"{server.url}/v1/predict", content=png, timeout=TIMEOUT)


def metric(server, name):
    text = httpx.get(f"{server.url}/metrics", timeout=TIMEOUT).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def workers(server):
    return [e["process"] for e in server.events() if e["event"] == "worker started"]


def ready(server):
    return sum(e["event"] == "ready" for e in server.events())


def test_metrics_are_those_of_all_workers(tmp_path, png):
    with serving(tmp_path, "--workers", "2") as server:
        wait_until(lambda: ready(server) == 2)
        for _ in range(30):
            assert post(server, png).status_code == 200
        assert metric(server, "fashioncnn_predictions_total") == 30
        assert metric(server, "fashioncnn_pending_images") == 0


def test_worker_that_dies_is_replaced(tmp_path, png):
    with serving(tmp_path, "--workers", "2") as server:
        wait_until(lambda: ready(server) == 2)
        assert post(server, png).status_code == 200
        before = metric(server, "fashioncnn_predictions_total")
        os.kill(workers(server)[0], signal.SIGKILL)
        wait_until(lambda: ready(server) == 3)
        assert post(server, png).status_code == 200
        assert metric(server, "fashioncnn_predictions_total") == before + 1


def test_signal_under_load(tmp_path, png):
    with serving(tmp_path, "--workers", "2") as server:
        wait_until(lambda: ready(server) == 2)
        load = Load(server.url, png)
        wait_until(lambda: len(load.answers) > 20)
        processes = children(server.process.pid)
        assert server.end() == 0
        load.join()
        assert load.failures == []
        assert set(load.answers) <= {200, 429}
        wait_until(lambda: not any(is_running(process) for process in processes))


def test_workers_end_with_their_parent(tmp_path):
    with serving(tmp_path, "--workers", "2") as server:
        processes = children(server.process.pid)
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not any(is_running(process) for process in processes))
