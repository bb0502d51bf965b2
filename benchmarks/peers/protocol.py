"""What the peers share: the official files, and the lines they exchange with the driver.

numpy alone, so that it runs in every peer's environment. The lines are JSON, one on each line of
stdout. In the mode ``throughput`` a process trains for real, in rounds:

    → {"ready": true, "name": …, "precision": …, "versions": {…}, "setup_seconds": …}
    ← a line: an empty one asks for a round of ``--steps`` steps, a number for a round of so many
    → {"images_per_second": …, "seconds": …, "images": …, "cpu_seconds": …}
    … and after the last round, or at the end of stdin
    → {"peak_memory_bytes": …, "idle_cpu": …}

It waits between rounds, so that a driver can let several processes take turns; ``idle_cpu`` is the
share of a core that it took while it waited. In the mode
``accuracy`` there is a line for each epoch:

    → {"epoch": …, "train_seconds": …, "test_seconds": …, "setup_seconds": …, "test_accuracy": …}

with ``train_seconds`` and ``test_seconds`` summed up to this epoch, and ``setup_seconds`` from the
start of the process to the first step of learning: imports, data, building, compiling. A peer
without epochs tells ``images`` besides: each of its lines is a model of its own, its seconds too.
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
"""About when the process began: peers import this module before their framework."""
BATCH_SIZE = 128
LEARNING_RATE = 1e-3
PARAMETERS = 824_458
"""Of the network that every peer trains."""
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
    """Read the official files from the folder that ``FASHIONCNN_DATA`` names."""
    folder = os.environ.get("FASHIONCNN_DATA")
    if not folder:
        raise SystemExit("set FASHIONCNN_DATA to the folder of the official Fashion-MNIST files")
    return Data(**{part: read_idx(Path(folder) / name) for part, name in FILES.items()})


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the bytes of a gzipped IDX file in their shape."""
    content = gzip.decompress(path.read_bytes())
    dimensions = content[3]
    shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what every peer understands."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("mode", choices=("throughput", "accuracy"))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warmup-steps", type=int, default=20, help="not counted")
    parser.add_argument("--steps", type=int, default=100, help="of a round")
    parser.add_argument("--rounds", type=int, default=1_000_000, help="at most")
    parser.add_argument("--epochs", type=int, default=20, help="in the mode accuracy")
    return parser


def check_parameters(count: int) -> None:
    """Refuse to measure another network."""
    if count != PARAMETERS:
        raise SystemExit(f"the network has {count:,} parameters, not {PARAMETERS:,}")


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions by package."""
    return {name: metadata.version(name) for name in packages}


def say(**values: Any) -> None:
    """Print a line for the driver."""
    print(json.dumps(values), flush=True)


def stepper(epoch: Callable[[], Iterator[int]]) -> Callable[[int], tuple[int, float]]:
    """Return a function that trains for some steps, for `serve_rounds`.

    Args:
        epoch: trains an epoch, and yields how many images it learnt from after every step.
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
    """The peer's side of the mode ``throughput``."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.steps: int = options.steps
        self.left: int = options.rounds
        self.waited = self.busy = self.mark = 0.0

    def ready(self, name: str, precision: str, used: dict[str, str]) -> None:
        """Tell that warming up is over."""
        seconds = time.perf_counter() - STARTED
        say(ready=True, name=name, precision=precision, versions=used, setup_seconds=seconds)

    def wait(self) -> int | None:
        """Wait for the driver, and return how many steps the next round has; None at the end."""
        if self.left <= 0:
            return None
        started, busy = time.perf_counter(), time.process_time()
        line = sys.stdin.readline()
        self.waited += time.perf_counter() - started
        self.mark = time.process_time()
        self.busy += self.mark - busy
        self.left -= 1
        if not line:
            return None
        return int(line) if line.strip() else self.steps

    def report(self, seconds: float, images: int) -> None:
        """Tell what a round of learning came to."""
        self.tell(images_per_second=images / seconds, seconds=seconds, images=images)

    def tell(self, **figures: float) -> None:
        """Tell figures of a round, and the processor time since its beginning."""
        say(**figures, cpu_seconds=time.process_time() - self.mark)

    def end(self) -> None:
        """Tell the largest resident size that this process has had, and what waiting cost."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak *= 1 if sys.platform == "darwin" else 1024
        say(peak_memory_bytes=peak, idle_cpu=self.busy / self.waited if self.waited else None)


def serve_rounds(
    options: argparse.Namespace,
    name: str,
    precision: str,
    packages: Sequence[str],
    train_steps: Callable[[int], tuple[int, float]],
) -> None:
    """Warm up, then train in rounds whenever the driver asks for one.

    Args:
        options: of `make_parser`.
        name: of the contestant.
        precision: ``fp32`` or ``bf16``: which of the machine's limits it is held against.
        packages: whose versions are told.
        train_steps: trains for about so many steps; returns the images learnt from, and the
            seconds that took.
    """
    rounds = Rounds(options)
    train_steps(options.warmup_steps)
    rounds.ready(name, precision, versions(*packages))
    while (steps := rounds.wait()) is not None:
        images, seconds = train_steps(steps)
        rounds.report(seconds, images)
    rounds.end()


class EpochClock:
    """Times learning and judging apart, and tells both after every epoch."""

    def __init__(self) -> None:
        self.setup_seconds: float | None = None
        self.epoch = 0
        self.train_seconds = self.test_seconds = 0.0
        self.mark = 0.0

    def begin(self) -> None:
        """Learning begins or goes on."""
        self.mark = time.perf_counter()
        if self.setup_seconds is None:
            self.setup_seconds = self.mark - STARTED

    def trained(self) -> None:
        """An epoch is learnt, judging begins."""
        now = time.perf_counter()
        self.train_seconds += now - self.mark
        self.mark = now

    def judged(self, test_accuracy: float) -> None:
        """The epoch is judged."""
        self.test_seconds += time.perf_counter() - self.mark
        self.epoch += 1
        say(
            epoch=self.epoch,
            train_seconds=self.train_seconds,
            test_seconds=self.test_seconds,
            setup_seconds=self.setup_seconds,
            test_accuracy=test_accuracy,
        )


def report_epochs(
    epochs: int, train_epoch: Callable[[], Iterator[int]], evaluate: Callable[[], float]
) -> None:
    """Train, and judge the test part after every epoch."""
    clock = EpochClock()
    for _ in range(epochs):
        clock.begin()
        for _ in train_epoch():
            pass
        clock.trained()
        clock.judged(evaluate())
