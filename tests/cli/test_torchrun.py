"""``torchrun … -m fashioncnn train`` with real processes: messages, signals, a killed process."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fashioncnn.runs import RunFolder
from fashioncnn.training.checkpoint import load_checkpoint

from .conftest import NO_EPOCHS

pytestmark = pytest.mark.slow
SECONDS = 120
PROGRAM = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
EPOCHS = ["--data", "sketches", "--epochs", "100000"]


@pytest.fixture
def torchrun():
    """Return a function that starts `torchrun`; what still runs at the end is killed."""
    started = []

    def start(number, *arguments):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [*PROGRAM, str(number), *arguments]
        process = subprocess.Popen(command, env=environment, start_new_session=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def messages(stderr):
    """Return what the processes, not `torchrun`, report at their end."""
    assert not re.search(r'File "[^"]*/fashioncnn/', stderr), stderr
    return [line for line in stderr.splitlines() if line.startswith("fashioncnn: ")]


def wait_for_epoch(process, number=1):
    """Read the progress until an epoch has ended; return the number of the epoch."""
    for line in process.stderr:
        match = re.match(r"epoch +(\d+)/", line)
        if match and int(match[1]) >= number:
            return int(match[1])
    raise AssertionError("ended without reaching the epoch")


def process_of_rank(launcher, rank):
    """Return the process id of a rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
    ranks = {}
    for child in map(int, children.split()):
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks |= {int(e[5:]): child for e in environment if e.startswith(b"RANK=")}
    return ranks[rank]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_killed_process_ends_all_and_another_number_of_processes_resumes(torchrun):
    launcher = torchrun(2, "-m", "fashioncnn", "train", *NO_EPOCHS, *EPOCHS, "--out", "run")
    wait_for_epoch(launcher)
    os.kill(process_of_rank(launcher, 1), signal.SIGKILL)
    stderr = launcher.communicate(timeout=SECONDS)[1]
    assert launcher.returncode == 1
    (message,) = messages(stderr)
    assert message == (
        "fashioncnn: another process of this training has ended; the last checkpoint is kept, "
        "resume with: torchrun --nproc-per-node 2 -m fashioncnn train --resume run"
    )
    run = RunFolder(Path("run"))
    before = run.read_history()
    _, content = load_checkpoint(run.checkpoints)
    assert content["history"] == before
    assert not run.trained

    launcher = torchrun(3, "-m", "fashioncnn", "train", "--resume", "run")
    wait_for_epoch(launcher, len(before) + 1)
    launcher.terminate()
    stderr = launcher.communicate(timeout=SECONDS)[1]
    assert launcher.returncode == 1, "of torchrun, whatever its processes return"
    (message,) = messages(stderr)
    assert message.startswith("fashioncnn: terminated, checkpoint saved; resume with: torchrun ")
    assert run.read_environment()["world_size"] == 3
    assert run.read_history()[: len(before)] == before


def test_different_settings_are_reported_in_one_line(torchrun):
    script = f"FASHIONCNN_SEED=$RANK exec {sys.executable} -m fashioncnn train --data sketches"
    launcher = torchrun(2, "--no-python", "sh", "-c", f"{script} --out run")
    stdout, stderr = launcher.communicate(timeout=SECONDS)
    (message,) = messages(stderr)
    assert re.match(
        r"fashioncnn: rank 1 on \S+ differs from rank 0: training.seed from 0 to 1; ", message
    )
    assert stderr.count("exitcode  : 2") == 2
    assert stdout == ""
    assert not Path("run").exists()


def test_error_of_all_processes_is_reported_once(torchrun):
    launcher = torchrun(2, "-m", "fashioncnn", "train", "--data", "missing", "--out", "run")
    _, stderr = launcher.communicate(timeout=SECONDS)
    (message,) = messages(stderr)
    assert "missing" in message
    assert stderr.count("exitcode  : 2") == 2
    assert not Path("run").exists()
