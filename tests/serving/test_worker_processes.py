"""The process that starts the workers of a server, and replaces one that died."""

import multiprocessing
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import httpx

from fashioncnn.cli.serve import load_predictor
from fashioncnn.serving.options import ServerOptions
from fashioncnn.serving.run import listen, url_of
from fashioncnn.serving.workers import serve_with_workers

from .conftest import TIMEOUT

LOAD = partial(load_predictor, Path("photo"), "auto", 1)


def children():
    return {process.pid for process in multiprocessing.active_children()}


class Clients(threading.Thread):
    """Uses the server, kills its worker, uses it again, and ends it with SIGTERM."""

    def __init__(self, url, png):
        super().__init__(daemon=True)
        self.url, self.png = url, png
        self.others = children()  # of other tests
        self.statuses, self.pids = [], set()
        self.ended = threading.Event()

    def run(self):
        try:
            self.predict()
            os.kill(*self.pids, signal.SIGKILL)
            self.predict()
        finally:
            if not self.ended.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    def predict(self):
        limit = time.monotonic() + TIMEOUT
        while time.monotonic() < limit and not self.ended.is_set():
            pids = children() - self.others
            if pids and pids != self.pids and self.is_ready():
                self.pids = pids
                break
            time.sleep(0.05)
        answer = httpx.post(f"{self.url}/v1/predict", content=self.png, timeout=TIMEOUT)
        self.statuses.append(answer.status_code)

    def is_ready(self):
        try:
            return httpx.get(f"{self.url}/readyz", timeout=TIMEOUT).status_code == 200
        except httpx.TransportError:  # of the worker that was killed
            return False


def test_worker_that_dies_is_replaced_until_a_signal(png):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    listening = listen("127.0.0.1", 0)
    clients = Clients(url_of(listening), png)
    clients.start()
    try:
        serve_with_workers(LOAD, "photo", ServerOptions(decoders=1, grace=0.0), listening, 1)
    finally:
        clients.ended.set()
    clients.join(TIMEOUT)
    assert clients.statuses == [200, 200]
    assert children() <= clients.others
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
