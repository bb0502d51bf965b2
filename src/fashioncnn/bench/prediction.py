"""Throughput and latency of prediction, by the code that ``fashioncnn predict`` runs."""

from __future__ import annotations

import itertools
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.bench.limit import (
    LIMIT_FRACTION,
    Limit,
    Result,
    call_times,
    describe_machine,
    peak_memory,
)
from fashioncnn.bench.training import flop_per_image
from fashioncnn.config import resolve
from fashioncnn.data.dataset import FASHION_MNIST_CLASSES
from fashioncnn.data.sketches import draw_sketches
from fashioncnn.devices import isolated_torch_state, report_out_of_memory
from fashioncnn.files import write_png
from fashioncnn.inference.arrays import as_images
from fashioncnn.models import build_model, place_network, set_kernels
from fashioncnn.models.backend import torch_predictor
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.settings import SCHEMA

FILES = 200
"""PNG files to predict."""


@isolated_torch_state()
def untrained_model(device: torch.device, kernels: str) -> TrainedModel:
    """Return the network of `baseline` with random weights."""
    architecture = resolve("baseline", environment={}).model
    network = build_model(architecture, 28, len(FASHION_MNIST_CLASSES))
    network.eval()
    place_network(network, device)
    set_kernels(network, kernels)
    spec = ModelSpec(
        architecture=architecture,
        labels=FASHION_MNIST_CLASSES,
        preprocessing=Preprocessing(28, 0.0, 1.0, "fashion"),
        dataset="nothing",
    )
    return TrainedModel(network, spec)


@isolated_torch_state()
def bench_prediction(
    model: TrainedModel, *, rounds: int, seconds: float, report: Callable[[str], None]
) -> Result:
    """Return the throughput of `model` for arrays in memory and for small PNG files.

    Args:
        model: on the device to measure.
        rounds: number of measurements, after a round that does not count.
        seconds: per round, divided among the kinds of input.
        report: called with a line after each round.

    Raises:
        OutOfMemoryError: there is not enough memory.
    """
    predictor = torch_predictor(model)
    sketches = draw_sketches().require_test().images
    images = as_images(sketches, model.spec.preprocessing)
    single_images = itertools.cycle(images[:, None])
    single = _Measurement(1, lambda: predictor.predict_images(next(single_images)))
    many = _Measurement(len(images), lambda: predictor.predict_images(images))
    limit = Limit(model.device)
    with (
        tempfile.TemporaryDirectory(prefix="fashioncnn-bench-") as folder,
        report_out_of_memory(f"a batch of {len(images)}", model.device, "another --device"),
    ):
        paths = _write_pngs(sketches[:FILES], Path(folder))
        files = _Measurement(FILES, lambda: list(predictor.predict_files(paths)))
        measurements = (single, many, files)
        for measurement in measurements:
            measurement.run(seconds / len(measurements), counts=False)
        peak = peak_memory(model.device)
        for number in range(1, rounds + 1):
            gflops = limit.measure(LIMIT_FRACTION * seconds)
            for measurement in measurements:
                measurement.run(seconds / len(measurements))
            report(
                f"round {number}/{rounds}: {single.rates[-1]:,.0f} images/s one by one, "
                f"{many.rates[-1]:,.0f} in large batches; matrix products {gflops:,.0f} GFLOP/s"
            )
    size = model.spec.preprocessing.image_size
    flop = flop_per_image(model.network, size, backward=False)
    return {
        "schema": SCHEMA,
        "command": "bench predict",
        "parameters": model.parameters,
        "image_size": size,
        "device": str(model.device),
        "precision": "fp32",
        "threads": torch.get_num_threads(),
        "images_per_second": many.rate,
        "share_of_limit": limit.fraction(many.rate, flop),
        "peak_memory_bytes": peak,
        "mflop_per_image": flop / 1e6,
        **limit.as_dict(),
        "batches": [
            {**m.as_dict(), "share_of_limit": limit.fraction(m.rate, flop)} for m in (single, many)
        ],
        "png_files": files.as_dict(),
        "rounds": many.rates,
        "seconds_per_round": seconds,
        **describe_machine(model.device),
    }


class _Measurement:
    """Repeated predictions for `n` images, with the time of each call."""

    def __init__(self, n: int, call: Callable[[], object]) -> None:
        self.n, self.call = n, call
        self.latencies: list[float] = []
        self.rates: list[float] = []

    def run(self, seconds: float, *, counts: bool = True) -> None:
        """Call for `seconds`, at least once."""
        times = call_times(self.call, seconds)
        if counts:
            self.latencies += times
            self.rates.append(self.n * len(times) / sum(times))

    @property
    def rate(self) -> float:
        """Images per second, median of the rounds."""
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


def _write_pngs(images: NDArray[np.uint8], folder: Path) -> list[Path]:
    paths = [folder / f"{number:04}.png" for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        write_png(path, Image.fromarray(image))
    return paths
