"""Exceptions and signals that end a command: exit codes and messages."""

import contextlib
import errno
import os
import signal
import sys
import threading
import time

import pytest

from fashioncnn.cli import exits
from fashioncnn.cli.console import note

pytestmark = pytest.mark.usefixtures("handlers_are_restored")


def test_exception_of_a_library_that_replaces_the_interrupt_is_an_interrupt(capsys):
    def command():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        raise ImportError("the import of numpy failed")

    assert exits.run(command) == 143
    assert capsys.readouterr().err == "fashioncnn: terminated\n"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer")
def test_interrupt_inside_a_destructor_is_raised_again(capsys):
    class Destroyed:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def command():
        Destroyed()
        time.sleep(10)

    start = time.monotonic()
    assert exits.run(command) == 130
    assert time.monotonic() - start < 5
    assert capsys.readouterr().err == "fashioncnn: interrupted\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("can't start new thread"),
        ImportError("libtorch.so: failed to map segment from shared object"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
    ids=str,
)
def test_missing_memory_is_one_line(capsys, error):
    def command():
        raise error

    assert exits.run(command) == 1
    assert capsys.readouterr().err == f"fashioncnn: {exits.OUT_OF_MEMORY}\n"


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ImportError("a bug")], ids=repr)
def test_unexpected_errors_are_not_hidden(error):
    def command():
        raise error

    with pytest.raises(type(error), match="a bug"):
        exits.run(command)


def test_a_thread_can_run_a_command(capsys):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(exits.run(lambda: None)))
    thread.start()
    thread.join()
    assert codes == [0]


def test_notes_that_cannot_be_written_do_not_end_the_command(monkeypatch):
    class Full:
        def isatty(self):
            return False

        def write(self, _):
            raise OSError(errno.EIO, "the terminal was closed")

    monkeypatch.setattr(sys, "stderr", Full())
    note("epoch 1")
