"""Throughput and latency of prediction, by the code that ``fashioncnn predict`` runs."""

from __future__ import annotations

import itertools
import statistics
import tempfile
from collections.abc import Callable, Sequence
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
from fashioncnn.inference.predictor import Predictor
from fashioncnn.loading import LoadedModel
from fashioncnn.models import build_model, place_network, set_kernels
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
    models: Sequence[LoadedModel], *, rounds: int, seconds: float, report: Callable[[str], None]
) -> Result:
    """Return the throughput of a model for arrays in memory and for small PNG files.

    Args:
        models: the model, once for each backend to measure; they are measured in turns. The keys
            without a backend are those of the first.
        rounds: number of measurements, after a round that does not count.
        seconds: per round and backend, divided among the kinds of input.
        report: called with a line after each round.

    Raises:
        OutOfMemoryError: there is not enough memory.
    """
    first = models[0]
    sketches = draw_sketches().require_test().images
    images = as_images(sketches, first.spec.preprocessing)
    device = torch.device(next((m.device for m in models if m.trained), "cpu"))
    limit = Limit(device)
    with (
        tempfile.TemporaryDirectory(prefix="fashioncnn-bench-") as folder,
        report_out_of_memory(f"a batch of {len(images)}", device, "another --device"),
    ):
        paths = _write_pngs(sketches[:FILES], Path(folder))
        measured = {m.backend: _Backend(m.predictor, images, paths) for m in models}
        for backend in measured.values():
            backend.run(seconds, counts=False)
        peak = peak_memory(device)
        for number in range(1, rounds + 1):
            gflops = limit.measure(LIMIT_FRACTION * seconds)
            for name, backend in measured.items():
                backend.run(seconds)
                report(f"round {number}/{rounds}: {name}, {backend.describe_round()}")
            report(f"round {number}/{rounds}: matrix products {gflops:,.0f} GFLOP/s")
    flop = _flop_per_image(first)
    by_backend = {name: backend.as_dict(limit, flop) for name, backend in measured.items()}
    return {
        "schema": SCHEMA,
        "command": "bench predict",
        "parameters": first.description.parameters,
        "image_size": first.spec.preprocessing.image_size,
        "device": first.device,
        "precision": first.precision,
        "threads": torch.get_num_threads(),
        **by_backend[first.backend],
        "backend": first.backend,
        "backends": by_backend,
        "peak_memory_bytes": peak,
        "mflop_per_image": None if flop is None else flop / 1e6,
        **limit.as_dict(),
        "seconds_per_round": seconds,
        **describe_machine(device),
    }


def _flop_per_image(model: LoadedModel) -> int | None:
    """Return the floating-point operations of one image; None if they are unknown."""
    if model.trained is not None:
        size = model.spec.preprocessing.image_size
        return flop_per_image(model.trained.network, size, backward=False)
    multiply_adds = model.description.multiply_adds
    return None if multiply_adds is None else 2 * multiply_adds


class _Backend:
    """The measurements of one backend.

    Args:
        predictor: of the model.
        images: (n, size, size[, 3]) uint8.
        paths: of image files.
    """

    def __init__(self, predictor: Predictor, images: NDArray[np.uint8], paths: list[Path]) -> None:
        single_images = itertools.cycle(images[:, None])
        self.single = _Measurement(1, lambda: predictor.predict_images(next(single_images)))
        self.many = _Measurement(len(images), lambda: predictor.predict_images(images))
        self.files = _Measurement(FILES, lambda: list(predictor.predict_files(paths)))

    def run(self, seconds: float, *, counts: bool = True) -> None:
        """Measure each kind of input for a part of `seconds`."""
        measurements = (self.single, self.many, self.files)
        for measurement in measurements:
            measurement.run(seconds / len(measurements), counts=counts)

    def describe_round(self) -> str:
        """Return the rates of the last round."""
        return (
            f"{self.single.rates[-1]:,.0f} images/s one by one, "
            f"{self.many.rates[-1]:,.0f} in large batches"
        )

    def as_dict(self, limit: Limit, flop: int | None) -> Result:
        """Return rates and latencies as JSON types.

        Args:
            limit: of the machine.
            flop: per image, if it is known.
        """

        def fraction(rate: float) -> float | None:
            return None if flop is None else limit.fraction(rate, flop)

        return {
            "images_per_second": self.many.rate,
            "share_of_limit": fraction(self.many.rate),
            "batches": [
                {**m.as_dict(), "share_of_limit": fraction(m.rate)}
                for m in (self.single, self.many)
            ],
            "png_files": self.files.as_dict(),
            "rounds": self.many.rates,
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
