"""Who takes part in `bench.py` and `speedrun.py`, each with an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fashioncnn.runtime import available_cores, cpu_name, has_bf16
from seeds import use_shared_data

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
ENVIRONMENTS = HERE / ".envs"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Contestant:
    """A script that speaks the lines of `peers/common.py`.

    Attributes:
        script: in ``benchmarks/peers``.
        requirements: stem of the file in ``benchmarks/peers/requirements`` that its environment
            is made from; None is the environment that the driver runs in.
        arguments: of the script.
        modes: which of the two it has.
        needs_bf16: a match only where the processor multiplies bfloat16.
    """

    script: str
    requirements: str | None
    arguments: tuple[str, ...] = ()
    modes: tuple[str, ...] = ("throughput", "accuracy")
    needs_bf16: bool = False

    def command(self, mode: str, threads: int, seed: int) -> list[str]:
        """Return the command that starts it."""
        python = sys.executable
        if self.requirements is not None:
            python = str(python_of(ENVIRONMENTS / self.requirements))
        script = str(PEERS / self.script)
        shared = ["--threads", str(threads), "--seed", str(seed)]
        return [python, script, mode, *shared, *self.arguments]


SPEED, ACCURACY = ("throughput",), ("accuracy",)
CONTESTANTS = {
    "ours": Contestant("ours.py", None, modes=SPEED),
    "ours-torch": Contestant("ours.py", None, ("--kernels", "torch"), SPEED),
    "ours-bf16": Contestant("ours.py", None, ("--precision", "bf16"), SPEED, needs_bf16=True),
    "pytorch-dataloader": Contestant("pytorch_dataloader.py", "pytorch"),
    "pytorch-dataloader-2-workers": Contestant(
        "pytorch_dataloader.py", "pytorch", ("--workers", "2"), SPEED
    ),
    "pytorch-memory": Contestant("pytorch_memory.py", "pytorch"),
    "pytorch-memory-channels-last": Contestant(
        "pytorch_memory.py", "pytorch", ("--channels-last",)
    ),
    "pytorch-memory-channels-last-bf16": Contestant(
        "pytorch_memory.py",
        "pytorch",
        ("--channels-last", "--precision", "bf16"),
        needs_bf16=True,
    ),
    "keras": Contestant("keras_tensorflow.py", "keras_tensorflow"),
    "keras-onednn": Contestant("keras_tensorflow.py", "keras_tensorflow", ("--onednn",)),
    "keras-bf16": Contestant(
        "keras_tensorflow.py",
        "keras_tensorflow",
        ("--precision", "mixed_bfloat16"),
        needs_bf16=True,
    ),
    "sklearn-pca-knn": Contestant("sklearn_best.py", "sklearn", ("--model", "pca_knn"), ACCURACY),
    "sklearn-pca-svc": Contestant("sklearn_best.py", "sklearn", ("--model", "pca_svc"), ACCURACY),
    "limit-fp32": Contestant("limit.py", None, modes=SPEED),
    "limit-bf16": Contestant("limit.py", None, ("--precision", "bf16"), SPEED, needs_bf16=True),
}


class LeftOutError(Exception):
    """A contestant cannot take part; says why in one line."""


def names_for(mode: str) -> list[str]:
    """Return the contestants that have `mode`, in their order."""
    return [name for name, contestant in CONTESTANTS.items() if mode in contestant.modes]


def check_processor(contestant: Contestant) -> None:
    """Raise `LeftOutError` where the processor lacks what the contestant is made for."""
    if contestant.needs_bf16 and not has_bf16(CPU):
        raise LeftOutError("this processor has no instructions for bfloat16")


def python_of(environment: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return environment / "bin" / "python"


def make_environment(requirements: str) -> None:
    """Make a contestant's environment, unless it is there and of the present requirements.

    Raises:
        LeftOutError: its packages cannot be installed.
    """
    wanted = PEERS / "requirements" / f"{requirements}.txt"
    folder = ENVIRONMENTS / requirements
    stamp = folder / "requirements.txt"
    if stamp.exists() and stamp.read_text() == wanted.read_text():
        return
    print(f"setting up {folder} …", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(python_of(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [*pip, "--requirement", str(wanted)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LeftOutError(f"{wanted.name} cannot be installed: {last_line(done.stderr)}")
    shutil.copy(wanted, stamp)


def last_line(text: str) -> str:
    """Return the last line that is not empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"


def official_data() -> None:
    """See that every contestant finds the official files; exit where there are none."""
    use_shared_data()
    if not os.environ.get("FASHIONCNN_DATA"):
        raise SystemExit("set FASHIONCNN_DATA to the folder of the official Fashion-MNIST files")


def describe_machine(threads: int) -> dict[str, Any]:
    """Return what a figure depends on besides the programs."""
    return {
        "cpu": cpu_name(),
        "cores": available_cores(),
        "threads": threads,
        "bf16": has_bf16(CPU),
        "load_before": os.getloadavg()[0],
    }


def tell_machine(machine: dict[str, Any]) -> str:
    """Return the machine as a sentence."""
    bf16 = "bfloat16" if machine["bf16"] else "no bfloat16"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {bf16} "
        f"instructions; load when it began: {machine['load_before']:.1f}."
    )
