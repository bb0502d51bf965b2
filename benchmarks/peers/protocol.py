"""The official files, and the messages that an implementation exchanges with the driver.

Imports numpy only, so that it runs in the environment of every implementation. Messages are JSON,
one per line of stdout. In the mode ``throughput`` a process trains in rounds:

    → {"ready": true, "name": …, "precision": …, "versions": {…}, "setup_seconds": …}
    ← a line: empty for a round of ``--steps`` steps, or the number of steps
    → {"images_per_second": …, "seconds": …, "images": …, "cpu_seconds": …}
    … and after the last round, or at the end of stdin
    → {"peak_memory_bytes": …, "idle_cpu": …}

It is idle between rounds, so that the driver can interleave the rounds of several processes;
``idle_cpu`` is the fraction of a core that it used while idle. In the mode ``accuracy`` it prints a
message per epoch:

    → {"epoch": …, "train_seconds": …, "test_seconds": …, "setup_seconds": …, "test_accuracy": …}

with ``train_seconds`` and ``test_seconds`` summed up to this epoch, and ``setup_seconds`` from the
start of the process to the first training step: imports, data, construction, compilation. A method
without epochs adds ``images``: each of its messages is a separate model with its own seconds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STARTED = time.perf_counter()
"""Approximate start of the process: this module is imported before the framework."""
BATCH_SIZE = 128
LEARNING_RATE = 1e-3
PARAMETERS = 824_458
"""Of FashionCNN, which every implementation trains."""
FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}


@dataclass(frozen=True)
class Data:
    """Fashion-MNIST: images are (n, 28, 28) uint8, labels (n,) uint8."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.uint8]


def read_data() -> Data:
    """Return the official files in the folder ``FASHIONCNN_DATA``; exit if it is not set."""
    folder = os.environ.get("FASHIONCNN_DATA")
    if not folder:
        raise SystemExit("set FASHIONCNN_DATA to the folder of the official Fashion-MNIST files")
    return Data(**{field: read_idx(Path(folder) / name) for field, name in FILES.items()})


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the uint8 array in a gzipped IDX file."""
    content = gzip.decompress(path.read_bytes())
    dimensions = content[3]
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()


def make_parser(docstring: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every implementation."""
    parser = argparse.ArgumentParser(description=(docstring or "").splitlines()[0])
    parser.add_argument("mode", choices=("throughput", "accuracy"))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warmup-steps", type=int, default=20, help="not measured")
    parser.add_argument("--steps", type=int, default=100, help="of a round")
    parser.add_argument("--rounds", type=int, default=1_000_000, help="maximum number")
    parser.add_argument("--epochs", type=int, default=20, help="in the mode accuracy")
    return parser


def check_parameters(count: int) -> None:
    """Exit if a network has not as many parameters as FashionCNN."""
    if count != PARAMETERS:
        raise SystemExit(f"the network has {count:,} parameters instead of {PARAMETERS:,}")


def versions(*packages: str) -> dict[str, str]:
    """Return installed versions by package."""
    return {name: metadata.version(name) for name in packages}


def send(**values: Any) -> None:
    """Print a message for the driver."""
    print(json.dumps(values), flush=True)


def make_train_steps(epoch: Callable[[], Iterator[int]]) -> Callable[[int], tuple[int, float]]:
    """Return a function that trains a number of steps, across epochs; for `serve_rounds`.

    Args:
        epoch: trains an epoch, and yields the number of images after every step.
    """

    def endless() -> Iterator[int]:
        while True:
            yield from epoch()

    steps = endless()

    def train_steps(count: int) -> tuple[int, float]:
        started = time.perf_counter()
        images = sum(islice(steps, count))
        return images, time.perf_counter() - started

    return train_steps


class Rounds:
    """The implementation's side of the mode ``throughput``."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.steps: int = options.steps
        self.remaining: int = options.rounds
        self.idle_seconds = self.idle_cpu_seconds = self.round_started = 0.0

    def send_ready(self, name: str, precision: str, used: dict[str, str]) -> None:
        """Report the end of the warm-up."""
        seconds = time.perf_counter() - STARTED
        send(ready=True, name=name, precision=precision, versions=used, setup_seconds=seconds)

    def next_round(self) -> int | None:
        """Wait for the driver; return the steps of the next round, None if there is none."""
        if self.remaining <= 0:
            return None
        started, busy = time.perf_counter(), time.process_time()
        line = sys.stdin.readline()
        self.idle_seconds += time.perf_counter() - started
        self.round_started = time.process_time()
        self.idle_cpu_seconds += self.round_started - busy
        self.remaining -= 1
        if not line:
            return None
        return int(line) if line.strip() else self.steps

    def send_throughput(self, seconds: float, images: int) -> None:
        """Report a round of training."""
        self.send_round(images_per_second=images / seconds, seconds=seconds, images=images)

    def send_round(self, **figures: float) -> None:
        """Report figures of a round, with the processor time since its start."""
        send(**figures, cpu_seconds=time.process_time() - self.round_started)

    def send_end(self) -> None:
        """Report the peak resident size of this process, and its processor use while idle."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak *= 1 if sys.platform == "darwin" else 1024
        idle_cpu = self.idle_cpu_seconds / self.idle_seconds if self.idle_seconds else None
        send(peak_memory_bytes=peak, idle_cpu=idle_cpu)


def serve_rounds(
    options: argparse.Namespace,
    name: str,
    precision: str,
    packages: Sequence[str],
    train_steps: Callable[[int], tuple[int, float]],
) -> None:
    """Warm up, then train one round whenever the driver asks for it.

    Args:
        options: of `make_parser`.
        name: of the implementation.
        precision: ``fp32`` or ``bf16``: the limit of the machine to compare it with.
        packages: whose versions are reported.
        train_steps: trains about as many steps as given; returns the number of images and the
            seconds.
    """
    rounds = Rounds(options)
    train_steps(options.warmup_steps)
    rounds.send_ready(name, precision, versions(*packages))
    while (steps := rounds.next_round()) is not None:
        images, seconds = train_steps(steps)
        rounds.send_throughput(seconds, images)
    rounds.send_end()


class EpochTimer:
    """Times training and evaluation separately, and reports both after every epoch."""

    def __init__(self) -> None:
        self.setup_seconds: float | None = None
        self.epoch = 0
        self.train_seconds = self.test_seconds = 0.0
        self.mark = 0.0

    def start_training(self) -> None:
        """Mark the start of an epoch."""
        self.mark = time.perf_counter()
        if self.setup_seconds is None:
            self.setup_seconds = self.mark - STARTED

    def start_evaluation(self) -> None:
        """Mark the end of the training steps of an epoch."""
        now = time.perf_counter()
        self.train_seconds += now - self.mark
        self.mark = now

    def send_epoch(self, test_accuracy: float) -> None:
        """Mark the end of the evaluation and report the epoch."""
        self.test_seconds += time.perf_counter() - self.mark
        self.epoch += 1
        send(
            epoch=self.epoch,
            train_seconds=self.train_seconds,
            test_seconds=self.test_seconds,
            setup_seconds=self.setup_seconds,
            test_accuracy=test_accuracy,
        )


def report_epochs(
    epochs: int, train_epoch: Callable[[], Iterator[int]], evaluate: Callable[[], float]
) -> None:
    """Train, and evaluate the test split after every epoch."""
    timer = EpochTimer()
    for _ in range(epochs):
        timer.start_training()
        for _ in train_epoch():
            pass
        timer.start_evaluation()
        timer.send_epoch(evaluate())
