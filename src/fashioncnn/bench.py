"""Speed here, against the machine's own limit: what ``fashioncnn bench`` measures.

The limit is the fastest product of two square matrices, in the best precision that the processor
has instructions for and with as many threads. It is measured between the rounds, so that what else
the machine does slows both. The work that counts is that of convolutions and linear layers.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.config import resolve
from fashioncnn.data.dataset import FASHION_MNIST_CLASSES, Dataset, Split
from fashioncnn.data.sketches import draw_sketches
from fashioncnn.inference.predictor import as_images, predict_files, predict_probabilities
from fashioncnn.models import build_model, place_network
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.runtime import (
    available_cores,
    cpu_name,
    has_bf16,
    peak_memory_bytes,
    prepare_torch,
    report_out_of_memory,
)
from fashioncnn.settings import Settings
from fashioncnn.training.loop import Progress
from fashioncnn.training.state import TrainState

LIMIT_SIDES = {"cpu": (1024, 2048), "mps": (2048, 4096), "cuda": (4096, 8192)}
"""Sides of the square matrices by device; the fastest counts. A GPU needs large ones."""
LIMIT_FRACTION = 0.25
"""Seconds spent on the limit in each round, as a share of those spent on what is measured."""
WARMUP_STEPS = 3
"""Steps before the first round, at least: the first makes the optimiser's state."""
STAND_IN_REPEATS = 20
"""3,000 drawings so often are as many images as Fashion-MNIST's training part has."""
FILES = 200
"""PNG files to predict from."""

Result = dict[str, Any]
"""What a bench prints as JSON."""


def stand_in_data() -> Dataset:
    """Return 60,000 images to learn from, as many as Fashion-MNIST's: repeated drawings."""
    sketches = draw_sketches()
    images = np.tile(sketches.train.images, (STAND_IN_REPEATS, 1, 1))
    labels = np.tile(sketches.train.labels, STAND_IN_REPEATS)
    return replace(sketches, train=Split(images, labels))


def untrained_model(device: torch.device) -> TrainedModel:
    """Return a fresh network of `baseline`."""
    config = resolve("baseline", environment={}).model
    network = build_model(config, 28, len(FASHION_MNIST_CLASSES))
    network.eval()
    place_network(network, device)
    preprocessing = Preprocessing(28, 0.0, 1.0, "fashion")
    return TrainedModel(network, config, FASHION_MNIST_CLASSES, preprocessing, "nothing")


def bench_training(
    settings: Settings,
    dataset: Dataset,
    *,
    rounds: int,
    seconds: float,
    tell: Callable[[str], None],
) -> Result:
    """Return how fast the training loop learns from `dataset`; nothing is written.

    Args:
        settings: what to train, every ``auto`` resolved.
        dataset: its whole training part is learnt from; nothing is held out or judged.
        rounds: how often to measure, after a round that does not count.
        seconds: of each round, spent learning.
        tell: told about every round.

    Raises:
        OutOfMemoryError: there is not enough memory for the batch size.
    """
    training = _Training(settings, dataset)
    limit = _Limit(training.device)
    rates = []
    wish = f"batch_size = {training.batch_size}"
    with report_out_of_memory(wish, training.device, "a smaller --batch-size"):
        training.learn_for(seconds, at_least=WARMUP_STEPS)
        peak = _peak_memory(training.device)  # before the matrices of the limit are there
        for number in range(1, rounds + 1):
            gflops = limit.measure(LIMIT_FRACTION * seconds)
            rates.append(training.learn_for(seconds))
            tell(
                f"round {number}/{rounds}: {rates[-1]:,.0f} images/s; "
                f"matrix products {gflops:,.0f} GFLOP/s"
            )
    rate = statistics.median(rates)
    model = training.learner.model
    flop = flop_per_image(model.network, model.preprocessing.image_size, backward=True)
    return {
        "schema": 1,
        "command": "bench train",
        "recipe": settings.recipe,
        "data": dataset.name,
        "images": training.n,
        "batch_size": training.batch_size,
        "device": str(training.device),
        "precision": settings.runtime.precision,
        "threads": torch.get_num_threads(),
        "kernels": settings.runtime.kernels,
        "images_per_second": rate,
        "share_of_limit": limit.share(rate, flop),
        "seconds_per_epoch": training.n / rate,
        "peak_memory_bytes": peak,
        "mflop_per_image": flop / 1e6,
        **limit.as_dict(),
        "rounds": rates,
        "seconds_per_round": seconds,
        **_machine(training.device),
    }


def bench_prediction(
    model: TrainedModel,
    *,
    rounds: int,
    seconds: float,
    tell: Callable[[str], None],
    threads: int | None = None,
) -> Result:
    """Return how fast `model` predicts, from arrays in memory and from small PNG files.

    Args:
        model: on the device to measure.
        rounds: how often to measure, after a round that does not count.
        seconds: of each round, shared by the ways of predicting.
        tell: told about every round.
        threads: CPU threads; None leaves torch's own, as `predict` does.

    Raises:
        OutOfMemoryError: there is not enough memory.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    drawings = draw_sketches().require_test().images
    images = as_images(drawings, model.preprocessing)
    image = itertools.cycle(images[:, None])
    single = _Predicting(1, lambda: predict_probabilities(model, next(image)))
    many = _Predicting(len(images), lambda: predict_probabilities(model, images))
    limit = _Limit(model.device)
    with (
        tempfile.TemporaryDirectory(prefix="fashioncnn-bench-") as folder,
        report_out_of_memory(f"{len(images)} images at once", model.device, "another --device"),
    ):
        paths = _write_pngs(drawings[:FILES], Path(folder))
        files = _Predicting(FILES, lambda: list(predict_files(model, paths)))
        ways = (single, many, files)
        for way in ways:
            way.repeat_for(seconds / len(ways), counts=False)
        peak = _peak_memory(model.device)
        for number in range(1, rounds + 1):
            gflops = limit.measure(LIMIT_FRACTION * seconds)
            for way in ways:
                way.repeat_for(seconds / len(ways))
            tell(
                f"round {number}/{rounds}: {single.rates[-1]:,.0f} images/s one by one, "
                f"{many.rates[-1]:,.0f} by the thousand; matrix products {gflops:,.0f} GFLOP/s"
            )
    size = model.preprocessing.image_size
    flop = flop_per_image(model.network, size, backward=False)
    return {
        "schema": 1,
        "command": "bench predict",
        "parameters": model.parameters,
        "image_size": size,
        "device": str(model.device),
        "precision": "fp32",
        "threads": torch.get_num_threads(),
        "images_per_second": many.rate,
        "share_of_limit": limit.share(many.rate, flop),
        "peak_memory_bytes": peak,
        "mflop_per_image": flop / 1e6,
        **limit.as_dict(),
        "batches": [
            {**way.as_dict(), "share_of_limit": limit.share(way.rate, flop)}
            for way in (single, many)
        ],
        "png_files": files.as_dict(),
        "rounds": many.rates,
        "seconds_per_round": seconds,
        **_machine(model.device),
    }


def flop_per_image(network: nn.Module, image_size: int, *, backward: bool) -> int:
    """Return the floating-point operations of an image's way through the network.

    Counted are products and sums of convolutions and linear layers as they are written, not as a
    kernel may rearrange them (Winograd's needs fewer); `backward` adds what the gradients take.
    The pass runs on meta tensors, which have shapes and no values: it costs nothing and takes
    torch's own operators, the ones that can be counted, whatever kernels a device would run.
    """
    n = 2  # a batch norm would refuse a single one
    network = copy.deepcopy(network).to("meta")
    images = torch.empty(n, 1, image_size, image_size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        logits = network(images)
        if backward:
            logits.sum().backward()
    return int(counter.get_total_flops()) // n


class _RoundOver(Exception):  # noqa: N818
    """Stops the loop from within its `on_step`."""


class _Training:
    """A training in memory that goes on for as long as it is told."""

    def __init__(self, settings: Settings, dataset: Dataset) -> None:
        self.device = prepare_torch(settings.runtime)
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.n = len(dataset.train)
        self.batch_size = min(settings.training.batch_size, self.n)
        self.learner = TrainState.begin(settings, dataset.train, dataset, self.device)
        self.progress = Progress()
        self._go_on_for_ever()

    def _go_on_for_ever(self) -> None:
        """Let the epochs never end; past the recipe's last step its learning rate stays."""
        recipe = self.learner.recipe
        last = recipe.epochs * -(-self.n // recipe.batch_size) - 1
        self.learner.recipe = replace(
            recipe,
            epochs=sys.maxsize,
            learning_rate=lambda step: recipe.learning_rate(min(step, last)),
        )

    def learn_for(self, seconds: float, at_least: int = 1) -> float:
        """Go on for `seconds`, and `at_least` so many steps; return images per second."""
        learnt, steps = self._learnt(), self.progress.step
        _wait_for(self.device)
        began = time.perf_counter()

        def stop_in_time(progress: Progress) -> None:
            if time.perf_counter() - began >= seconds and progress.step - steps >= at_least:
                raise _RoundOver

        with contextlib.suppress(_RoundOver):
            self.learner.learn(self.progress, on_step=stop_in_time, on_epoch=lambda _: None)
        _wait_for(self.device)
        return (self._learnt() - learnt) / (time.perf_counter() - began)

    def _learnt(self) -> int:
        return self.progress.epoch * self.n + self.progress.position


class _Predicting:
    """One way of predicting `n` images, with the times that its calls took."""

    def __init__(self, n: int, call: Callable[[], object]) -> None:
        self.n, self.call = n, call
        self.latencies: list[float] = []
        self.rates: list[float] = []

    def repeat_for(self, seconds: float, *, counts: bool = True) -> None:
        """Call for `seconds`, at least once."""
        times = _call_times(self.call, seconds)
        if counts:
            self.latencies += times
            self.rates.append(self.n * len(times) / sum(times))

    @property
    def rate(self) -> float:
        """Images per second, the median of the rounds."""
        return statistics.median(self.rates)

    def as_dict(self) -> Result:
        """Return rates and latencies as JSON types."""
        return {
            "batch_size": self.n,
            "images_per_second": self.rate,
            "rounds": self.rates,
            "latency_ms_median": 1e3 * float(np.median(self.latencies)),
            "latency_ms_p95": 1e3 * float(np.percentile(self.latencies, 95)),
            "calls": len(self.latencies),
        }


class _Limit:
    """The fastest product of two square matrices seen on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.precision = "bf16" if has_bf16(device) else "fp32"
        self.rounds: list[float] = []
        self.processor_shares: list[float] = []

    def measure(self, seconds: float) -> float:
        """Multiply for about `seconds`; return the fastest in GFLOP/s."""
        sides = LIMIT_SIDES[self.device.type]
        worked, began = time.process_time(), time.perf_counter()
        best = max(self._fastest(side, seconds / len(sides)) for side in sides)
        worked, wall = time.process_time() - worked, time.perf_counter() - began
        cores = min(torch.get_num_threads(), available_cores())
        self.processor_shares.append(min(1.0, worked / (wall * cores)))
        self.rounds.append(best)
        return best

    def _fastest(self, side: int, seconds: float) -> float:
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        left, right = torch.randn(2, side, side, device=self.device).to(dtype).unbind()
        product = torch.empty_like(left)

        def multiply() -> None:
            torch.mm(left, right, out=product)
            _wait_for(self.device)

        multiply()
        return 2 * side**3 / min(_call_times(multiply, seconds)) / 1e9

    def share(self, images_per_second: float, flop_per_image: float) -> float:
        """Return the rate of work as a share of the limit; 1 is the limit itself."""
        return images_per_second * flop_per_image / (max(self.rounds) * 1e9)

    def as_dict(self) -> Result:
        """Return the limit as JSON types.

        `processor_share` is the least processor time that a round's products got, as a share of
        all that its threads can have: well below 1, other processes took the rest. On a GPU it
        says nothing, and is None.
        """
        on_cpu = self.device.type == "cpu"
        return {
            "limit_gflops": max(self.rounds),
            "limit_precision": self.precision,
            "limit_rounds": self.rounds,
            "processor_share": min(self.processor_shares) if on_cpu else None,
        }


def _call_times(call: Callable[[], object], seconds: float) -> list[float]:
    """Call again and again for `seconds`, at least once; return how long each call took."""
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while not times or time.perf_counter() < ends:
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


def _write_pngs(images: NDArray[np.uint8], folder: Path) -> list[Path]:
    paths = [folder / f"{number:04}.png" for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        Image.fromarray(image).save(path)
    return paths


def _peak_memory(device: torch.device) -> int:
    """Return the most memory used so far, in bytes: a GPU's own, else that of the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_memory_bytes()


def _wait_for(device: torch.device) -> None:
    """Return once the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _machine(device: torch.device) -> Result:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {"cpu": cpu_name(), "cores": available_cores(), "gpu": gpu, "torch": torch.__version__}
