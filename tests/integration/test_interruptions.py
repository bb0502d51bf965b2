"""A run that is interrupted by a signal and resumed has the files of one that was not."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fashioncnn.cli import main
from fashioncnn.runs import RunFolder
from fashioncnn.training import loop

from ..idx import write_idx

FLAGS = ["--epochs", "2", "--batch-size", "32", "--device", "cpu", "--threads", "1"]
TINY = ["--set", "model.channels=[4, 8]", "--set", "model.hidden=16"]
OFTEN = ["--set", "training.checkpoint_seconds=1e-9"]
"""A checkpoint after each of the 20 steps."""
SIGNALS = {"SIGINT": (signal.SIGINT, 130), "SIGTERM": (signal.SIGTERM, 143)}


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """Compile no kernels and draw no report."""
    monkeypatch.setenv("FASHIONCNN_KERNELS", "torch")
    monkeypatch.setattr("fashioncnn.cli.train_run.write_run_report", lambda run, splits: run.path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, small):
    """Return an uninterrupted run; its data is in the same folder."""
    folder = tmp_path_factory.mktemp("whole")
    splits = {"train": small.train, "t10k": small.test.subset(np.arange(50))}
    for prefix, split in splits.items():
        write_idx(folder / f"{prefix}-images-idx3-ubyte", split.images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", split.labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASHIONCNN_KERNELS", "torch")
        patch.setattr("fashioncnn.cli.train_run.write_run_report", lambda run, splits: run.path)
        assert main(train_arguments(folder, folder / "run")) == 0
    return RunFolder(folder / "run")


def train_arguments(data, out):
    return ["train", *FLAGS, *TINY, *OFTEN, "--data", str(data), "--out", str(out)]


@pytest.fixture
def run():
    return RunFolder(Path("run").resolve())


PROCESS = """
import pathlib, sys, time
from fashioncnn.training import loop

pause_at, *arguments = sys.argv[1:]
seed_dropout, calls = loop.seed_dropout, []

def pause(device, seed):
    calls.append(seed)
    if len(calls) == int(pause_at):
        pathlib.Path("paused").touch()
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
    seed_dropout(device, seed)

loop.seed_dropout = pause
from fashioncnn.cli import main

sys.exit(main(arguments))
"""
"""Run a command that pauses in a step of the training until there is a file ``go``."""


def start_process(arguments, pause_at):
    """Return a process that runs a command, and is paused in a step of its training."""
    Path("paused").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(pause_at), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not Path("paused").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("step", [1, 10, 15])
@pytest.mark.parametrize(("number", "code"), SIGNALS.values(), ids=SIGNALS)
def test_signal_during_a_step_saves_a_checkpoint_to_resume_from(
    number, code, step, whole, run, files_of, monkeypatch, capsys
):
    seed_dropout, calls = loop.seed_dropout, []

    def interrupt(device, seed):
        calls.append(seed)
        if len(calls) == step:
            signal.raise_signal(number)
        seed_dropout(device, seed)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "seed_dropout", interrupt)
        assert main(train_arguments(whole.path.parent, run.path)) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert "checkpoint saved" in last
    assert f"fashioncnn train --resume {run.path}" in last
    assert len(calls) == step
    assert not run.finished
    assert main(["train", "--resume", str(run.path)]) == 0
    assert files_of(run) == files_of(whole)


def test_locked_run_is_not_resumed(whole, run, capsys):
    run.path.mkdir()
    run.config.write_bytes(whole.config.read_bytes())
    with run.lock():
        assert main(["train", "--resume", str(run.path)]) == 1
    assert "another process is training or evaluating this run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGKILL, -signal.SIGKILL, id="SIGKILL"),
        pytest.param(*SIGNALS["SIGTERM"], id="SIGTERM"),
        pytest.param(*SIGNALS["SIGINT"], id="SIGINT", marks=pytest.mark.slow),
    ],
)
def test_stopped_process_leaves_a_run_that_can_be_resumed(number, code, whole, run, files_of):
    process = start_process(train_arguments(whole.path.parent, run.path), pause_at=15)
    process.send_signal(number)
    Path("go").touch()
    _, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert not run.finished
    assert "Traceback" not in err
    if number != signal.SIGKILL:
        assert f"checkpoint saved; resume with: fashioncnn train --resume {run.path}" in err
    assert main(["train", "--resume", str(run.path)]) == 0
    assert files_of(run) == files_of(whole)


@pytest.mark.slow
def test_process_killed_many_times_leaves_a_run_that_can_be_resumed(whole, run, files_of):
    arguments = train_arguments(whole.path.parent, run.path)
    for pause_at in (3, 6, 5):
        process = start_process(arguments, pause_at)
        process.kill()
        process.communicate()
        arguments = ["train", "--resume", str(run.path)]
    assert not run.finished
    assert main(arguments) == 0
    assert files_of(run) == files_of(whole)


@pytest.mark.slow
def test_two_processes_do_not_train_in_one_run(whole, run, capsys):
    process = start_process(train_arguments(whole.path.parent, run.path), pause_at=5)
    try:
        assert main(["train", "--resume", str(run.path)]) == 1
        assert "another process is training" in capsys.readouterr().err
    finally:
        process.kill()
        process.communicate()


def test_output_to_a_closed_pipe_is_not_an_error():
    command = f"{sys.executable} -m fashioncnn train --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout
    assert "Traceback" not in done.stderr
