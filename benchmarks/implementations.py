"""The implementations that `bench.py` and `speedrun.py` compare, and their environments."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from common import BENCHMARKS, Result, last_line
from fashioncnn.devices import has_bf16
from fashioncnn.environment import available_cores, cpu_name

PEERS = BENCHMARKS / "peers"
ENVIRONMENTS = BENCHMARKS / ".envs"
CPU = torch.device("cpu")


class SkippedError(Exception):
    """An implementation cannot be measured here; the message says why in one line."""


@dataclass(frozen=True)
class Implementation:
    """A script in ``benchmarks/peers`` that follows the protocol of `peers/protocol.py`.

    Attributes:
        script: its file name.
        requirements: stem of the file in ``benchmarks/peers/requirements`` from which its virtual
            environment is created; None is the environment of the driver.
        arguments: of the script.
        modes: that the script supports.
        needs_bf16: measured only on processors with bfloat16 instructions.
    """

    script: str
    requirements: str | None
    arguments: tuple[str, ...] = ()
    modes: tuple[str, ...] = ("throughput", "accuracy")
    needs_bf16: bool = False

    def command(self, mode: str, threads: int, seed: int) -> list[str]:
        """Return the command line."""
        python = sys.executable
        if self.requirements is not None:
            python = str(python_of(ENVIRONMENTS / self.requirements))
        options = ["--threads", str(threads), "--seed", str(seed)]
        return [python, str(PEERS / self.script), mode, *options, *self.arguments]

    def prepare(self) -> None:
        """Create the environment if necessary.

        Raises:
            SkippedError: its packages cannot be installed.
        """
        if self.requirements is not None:
            create_environment(self.requirements)

    def check_processor(self) -> None:
        """Raise `SkippedError` if the processor lacks the instructions for a fair comparison."""
        if self.needs_bf16 and not has_bf16(CPU):
            raise SkippedError("this processor has no bfloat16 instructions")


THROUGHPUT, ACCURACY = ("throughput",), ("accuracy",)
BF16 = ("--precision", "bf16")
IMPLEMENTATIONS = {
    "ours": Implementation("ours.py", None, modes=THROUGHPUT),
    "ours-torch": Implementation("ours.py", None, ("--kernels", "torch"), THROUGHPUT),
    "ours-bf16": Implementation("ours.py", None, BF16, THROUGHPUT, needs_bf16=True),
    "pytorch-dataloader": Implementation("pytorch_dataloader.py", "pytorch"),
    "pytorch-dataloader-2-workers": Implementation(
        "pytorch_dataloader.py", "pytorch", ("--workers", "2"), THROUGHPUT
    ),
    "pytorch-memory": Implementation("pytorch_memory.py", "pytorch"),
    "pytorch-memory-channels-last": Implementation(
        "pytorch_memory.py", "pytorch", ("--channels-last",)
    ),
    "pytorch-memory-channels-last-bf16": Implementation(
        "pytorch_memory.py", "pytorch", ("--channels-last", *BF16), needs_bf16=True
    ),
    "keras": Implementation("keras_tensorflow.py", "keras_tensorflow"),
    "keras-onednn": Implementation("keras_tensorflow.py", "keras_tensorflow", ("--onednn",)),
    "keras-bf16": Implementation(
        "keras_tensorflow.py",
        "keras_tensorflow",
        ("--precision", "mixed_bfloat16"),
        needs_bf16=True,
    ),
    "sklearn-pca-knn": Implementation(
        "sklearn_best.py", "sklearn", ("--model", "pca_knn"), ACCURACY
    ),
    "sklearn-pca-svc": Implementation(
        "sklearn_best.py", "sklearn", ("--model", "pca_svc"), ACCURACY
    ),
    "limit-fp32": Implementation("limit.py", None, modes=THROUGHPUT),
    "limit-bf16": Implementation("limit.py", None, BF16, THROUGHPUT, needs_bf16=True),
}


def names_for(mode: str) -> list[str]:
    """Return the implementations that support `mode`, in order."""
    return [name for name, entry in IMPLEMENTATIONS.items() if mode in entry.modes]


def python_of(environment: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return environment / "bin" / "python"


def create_environment(requirements: str) -> None:
    """Create a virtual environment, unless it exists with the present requirements.

    Raises:
        SkippedError: its packages cannot be installed.
    """
    source = PEERS / "requirements" / f"{requirements}.txt"
    folder = ENVIRONMENTS / requirements
    installed = folder / "requirements.txt"
    if installed.exists() and installed.read_text() == source.read_text():
        return
    print(f"creating {folder} …", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(python_of(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [*pip, "--requirement", str(source)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SkippedError(f"{source.name} cannot be installed: {last_line(done.stderr)}")
    shutil.copy(source, installed)


def describe_machine(threads: int) -> Result:
    """Return hardware, threads and load, on which a measurement depends."""
    return {
        "cpu": cpu_name(),
        "cores": available_cores(),
        "threads": threads,
        "bf16": has_bf16(CPU),
        "load_before": os.getloadavg()[0],
    }


def format_machine(machine: Result) -> str:
    """Return the machine as a sentence."""
    bf16 = "bfloat16" if machine["bf16"] else "no bfloat16"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, {bf16} "
        f"instructions; load average at the start: {machine['load_before']:.1f}."
    )
