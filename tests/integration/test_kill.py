"""A run that is killed at any moment ends, resumed, in the bytes of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "fashioncnn", "train"]
COMMAND += ["--epochs", "3", "--batch-size", "4", "--device", "cpu", "--threads", "1"]
COMMAND += ["--set", "model.channels=[4, 8]", "--set", "model.hidden=16"]
COMMAND += ["--set", "training.checkpoint_seconds=0.05"]


def start(*arguments):
    return subprocess.Popen(
        [*COMMAND[:4], *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path, process):
    deadline = time.monotonic() + 60
    while not list(path.glob("checkpoints/step-*.json")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def result(run):
    history = [json.loads(line) for line in Path(run, "history.jsonl").read_text().splitlines()]
    for record in history:
        del record["seconds"], record["images_per_second"]
    return (
        Path(run, "model", "model.safetensors").read_bytes(),
        Path(run, "predictions.npz").read_bytes(),
        history,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The data, and a run on it that nothing disturbed."""
    from fashioncnn.data.sketches import draw_sketches

    from ..idx import write_idx

    folder = tmp_path_factory.mktemp("whole")
    sketches = draw_sketches()
    for part, split, n in (("train", sketches.train, 1200), ("t10k", sketches.test, 50)):
        write_idx(folder / f"{part}-images-idx3-ubyte", split.images[:n])
        write_idx(folder / f"{part}-labels-idx1-ubyte", split.labels[:n])
    subprocess.run(
        [*COMMAND, "--data", str(folder), "--out", str(folder / "run")],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)],
    ids=["SIGKILL", "SIGINT", "SIGTERM"],
)
def test_killed_and_resumed_equals_never_killed(number, code, whole):
    run = Path("run").resolve()
    process = start(*COMMAND[4:], "--data", str(whole), "--out", str(run))
    wait_for(run, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert not (run / "metrics.json").exists(), "it was killed too late to test anything"
    if code > 0:
        assert f"fashioncnn train --resume {run}" in err
        assert "checkpoint saved" in err
    assert "Traceback" not in err
    resumed = start("--resume", str(run))
    _, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, err
    assert result(run) == result(whole / "run")


def test_killed_many_times(whole):
    run = Path("run").resolve()
    process = start(*COMMAND[4:], "--data", str(whole), "--out", str(run))
    wait_for(run, process)
    process.kill()
    process.communicate()
    for _ in range(2):
        process = start("--resume", str(run))
        manifests = set(run.glob("checkpoints/*.json"))
        deadline = time.monotonic() + 30
        while set(run.glob("checkpoints/*.json")) == manifests and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
        process.communicate()
    last = start("--resume", str(run))
    _, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    assert result(run) == result(whole / "run")


def test_two_processes_never_train_in_one_run(whole):
    run = Path("run").resolve()
    process = start(*COMMAND[4:], "--data", str(whole), "--out", str(run))
    wait_for(run, process)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        second = start("--resume", str(run))
        _, err = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "another process is training" in err
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()


def test_output_into_a_closed_pipe_is_no_crash():
    done = subprocess.run(
        f"{sys.executable} -m fashioncnn train --help | head -1",
        shell=True, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
