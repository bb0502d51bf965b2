"""Throughput of the training loop."""

from __future__ import annotations

import contextlib
import copy
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fashioncnn.bench.limit import (
    LIMIT_FRACTION,
    Limit,
    Result,
    describe_machine,
    peak_memory,
    synchronize,
)
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.sketches import draw_sketches
from fashioncnn.devices import isolated_torch_state, report_out_of_memory, resolve_device
from fashioncnn.settings import SCHEMA, Settings
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.initialize import create_batches, create_state
from fashioncnn.training.loop import fit
from fashioncnn.training.state import TrainState

WARMUP_STEPS = 3
"""Steps before the first round at least: the first one creates the state of the optimizer."""
REPEATS = 20
"""3,000 sketches this often are as many images as the training split of Fashion-MNIST has."""


def repeated_sketches() -> Dataset:
    """Return 60,000 images, as many as in Fashion-MNIST: repeated sketches."""
    sketches = draw_sketches()
    images = np.tile(sketches.train.images, (REPEATS, 1, 1))
    labels = np.tile(sketches.train.labels, REPEATS)
    return replace(sketches, train=Split(images, labels))


@isolated_torch_state()
def bench_training(
    settings: Settings,
    dataset: Dataset,
    *,
    rounds: int,
    seconds: float,
    report: Callable[[str], None],
) -> Result:
    """Return the throughput of the training loop on `dataset`; nothing is written.

    Args:
        settings: resolved.
        dataset: its whole training split is used; nothing is held out or evaluated.
        rounds: number of measurements, after a round that does not count.
        seconds: of training per round.
        report: called with a line after each round.

    Raises:
        OutOfMemoryError: there is not enough memory for the batch size.
    """
    training = EndlessTraining(settings, dataset)
    limit, device = Limit(training.device), training.device
    rates = []
    what = f"batch_size = {training.batch_size}"
    with report_out_of_memory(what, device, "a smaller --batch-size"):
        training.run(seconds, min_steps=WARMUP_STEPS)
        peak = peak_memory(device)  # before the matrices of the limit are allocated
        for number in range(1, rounds + 1):
            gflops = limit.measure(LIMIT_FRACTION * seconds)
            rates.append(training.run(seconds))
            report(
                f"round {number}/{rounds}: {rates[-1]:,.0f} images/s; "
                f"matrix products {gflops:,.0f} GFLOP/s"
            )
    rate = statistics.median(rates)
    state = training.state
    flop = flop_per_image(state.network, state.spec.preprocessing.image_size, backward=True)
    return {
        "schema": SCHEMA,
        "command": "bench train",
        "recipe": settings.recipe,
        "data": dataset.name,
        "images": training.n,
        "batch_size": training.batch_size,
        "device": str(device),
        "precision": settings.runtime.precision,
        "threads": torch.get_num_threads(),
        "kernels": settings.runtime.kernels,
        "images_per_second": rate,
        "share_of_limit": limit.fraction(rate, flop),
        "seconds_per_epoch": training.n / rate,
        "peak_memory_bytes": peak,
        "mflop_per_image": flop / 1e6,
        **limit.as_dict(),
        "rounds": rates,
        "seconds_per_round": seconds,
        **describe_machine(device),
    }


def flop_per_image(network: nn.Module, image_size: int, *, backward: bool) -> int:
    """Return the floating-point operations of one image in the network.

    Counted are multiplications and additions of convolutions and linear layers as defined, not as a
    kernel rearranges them (Winograd needs fewer); `backward` adds those of the gradients. The pass
    runs on meta tensors, which have shapes but no values, with PyTorch's operators.
    """
    n = 2  # batch norm needs more than one value per channel
    network = copy.deepcopy(network).to("meta")
    images = torch.empty(n, 1, image_size, image_size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        logits = network(images)
        if backward:
            logits.sum().backward()
    return int(counter.get_total_flops()) // n


class _RoundOver(Exception):  # noqa: N818
    """Leaves the training loop at the end of a round."""


@dataclass
class _StopAfter(Callback):
    """Leaves the loop after `seconds` and at least `min_steps`."""

    seconds: float
    min_steps: int

    def on_start(self, state: TrainState, images: int) -> None:  # noqa: ARG002
        self.first_step, self.start = state.progress.step, time.perf_counter()

    def on_step(self, state: TrainState) -> None:
        elapsed, steps = time.perf_counter() - self.start, state.progress.step - self.first_step
        if elapsed >= self.seconds and steps >= self.min_steps:
            raise _RoundOver


class EndlessTraining:
    """A training in memory that can be continued in rounds."""

    def __init__(self, settings: Settings, dataset: Dataset) -> None:
        self.device = resolve_device(settings.runtime.device)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.n = len(dataset.train)
        self.batch_size = min(settings.training.batch_size, self.n)
        self.batches = create_batches(settings, dataset.train, dataset, self.device)
        self.state = create_state(settings, dataset.train, dataset, self.device)
        self._make_endless()

    def _make_endless(self) -> None:
        """Remove the last epoch; after the recipe's last step the learning rate is constant."""
        learning_rate = self.state.learning_rate
        last = self.state.epochs * -(-self.n // self.batches.batch_size) - 1
        self.state.epochs = sys.maxsize
        self.state.learning_rate = lambda step: learning_rate(min(step, last))

    def run(self, seconds: float, min_steps: int = 1) -> float:
        """Train for `seconds` and at least `min_steps`; return images per second."""
        before = self._images()
        synchronize(self.device)
        start = time.perf_counter()
        with contextlib.suppress(_RoundOver):
            fit(self.state, self.batches, [_StopAfter(seconds, min_steps)])
        synchronize(self.device)
        return (self._images() - before) / (time.perf_counter() - start)

    def _images(self) -> int:
        return self.state.progress.epoch * self.n + self.state.progress.position
