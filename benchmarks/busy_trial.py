"""Measure one recipe with one thread and with all, while other processes use the processor.

    python benchmarks/busy_trial.py fast93 fp32 --load 0 2 --seconds 2

One trial of `busy.py`, which runs several. Prints one JSON document: images per second by
activity, number of busy processes and number of threads.
"""

# ruff: noqa: E402 - OpenMP reads its limits when torch is imported
from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from common import Result, make_parser
from fashioncnn.environment import available_cores
from fashioncnn.openmp import configure_openmp

configure_openmp()  # as the command line does

import torch

from fashioncnn.bench.training import EndlessTraining, repeated_sketches
from fashioncnn.config import resolve
from fashioncnn.devices import configure_process
from fashioncnn.models.backend import torch_predictor
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.training.prepare import prepare_settings

SLICES = 3
"""Measurements of each number of threads, interleaved."""
PREDICTED = 500
"""Images per call of the predictor."""
COMPUTE_WHILE_PARENT_RUNS = (
    "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    sum(range(100_000))"
)

Measure = Callable[[float], float]
"""Works for at least this many seconds; returns images per second."""


@contextlib.contextmanager
def busy_processes(n: int) -> Iterator[None]:
    """Run `n` compute-bound processes meanwhile."""
    command = [sys.executable, "-c", COMPUTE_WHILE_PARENT_RUNS, str(os.getpid())]
    processes = [subprocess.Popen(command) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def prepare(recipe: str, precision: str) -> dict[str, Measure]:
    """Return what is measured, by activity."""
    dataset = repeated_sketches()
    flags = {"validation": 0, "precision": precision, "track_test": False, "select": "last"}
    settings = prepare_settings(resolve(recipe, flags=flags), dataset)
    training = EndlessTraining(settings, dataset)
    model = TrainedModel(training.state.network, training.state.spec)
    predictor = torch_predictor(model, precision)
    images = dataset.train.images[:PREDICTED]

    def predict(seconds: float) -> float:
        start, calls = time.perf_counter(), 0
        while not calls or time.perf_counter() - start < seconds:
            predictor.predict_images(images)
            calls += 1
        return calls * len(images) / (time.perf_counter() - start)

    return {"training": training.run, "prediction": predict}


def compare_threads(measure: Measure, seconds: float) -> Result:
    """Return the images per second by number of threads, mean of the slices."""
    rates: dict[int, list[float]] = {1: [], available_cores(): []}
    for _ in range(SLICES):
        for threads, of_threads in rates.items():
            torch.set_num_threads(threads)
            of_threads.append(measure(seconds / SLICES))
    return {str(threads): sum(values) / len(values) for threads, values in rates.items()}


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("recipe")
    parser.add_argument("precision", choices=("fp32", "bf16"))
    parser.add_argument("--load", nargs="+", type=int, default=[0], help="busy processes")
    parser.add_argument("--seconds", type=float, default=2.0, help="per number of threads")
    args = parser.parse_args()
    configure_process("auto")
    activities = prepare(args.recipe, args.precision)
    result: Result = {name: {} for name in activities}
    for measure in activities.values():
        measure(0.1)
    for load in args.load:
        with busy_processes(load):
            for name, measure in activities.items():
                result[name][str(load)] = compare_threads(measure, args.seconds)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
