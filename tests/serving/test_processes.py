"""Ctrl-C in a terminal, which reaches all processes of the server, also while they start."""

import multiprocessing
import os
import signal

import pytest

from fashioncnn.serving import decoding
from fashioncnn.serving.processes import SIGNALS, start_process

from .conftest import encode, shirt
from .test_decoding import decoders, run

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "pthread_sigmask"), reason="a system without signal masks"
)


def test_decoder_that_starts_is_not_ended_by_signals_to_all_processes(predictor, monkeypatch):
    started = []

    def start(process, blocked):
        start_process(process, blocked)
        started.append(process)
        assert len(started) == 1  # else it ended, and was replaced
        for number in SIGNALS:
            os.kill(process.pid, number)

    monkeypatch.setattr(decoding, "start_process", start)
    pool = decoders(predictor)
    loaded = run(lambda: pool.decode("a.png", encode(shirt())), pool)
    assert loaded.views.shape == (1, 28, 28)


def test_worker_that_starts_is_not_ended_by_ctrl_c_but_by_sigterm():
    context = multiprocessing.get_context("spawn")
    interrupted, terminated = (context.Process(target=os.getpid) for _ in range(2))
    for process, number in ((interrupted, signal.SIGINT), (terminated, signal.SIGTERM)):
        start_process(process, [signal.SIGINT])
        os.kill(process.pid, number)
    for process in (interrupted, terminated):
        process.join()
    assert interrupted.exitcode == 0
    assert terminated.exitcode == -signal.SIGTERM
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
