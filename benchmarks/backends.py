"""Compare prediction with ONNX Runtime and with PyTorch: latency, start of a process, disk space.

    python benchmarks/backends.py                   about two minutes
    python benchmarks/backends.py --rounds 3 --skip-install

Measured in turns, for the bundled model `accurate`: one 28×28 image in this process, and
``fashioncnn predict`` of one JPEG in a process of its own, from its start to its end. Files are in
the page cache. The disk space is that of a fresh environment with the base install, less that of an
empty one. Without options the result is written to ``benchmarks/results/backends.json``.
"""

from __future__ import annotations

import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from common import RESULTS, ROOT, Result, make_parser, measurement_context, write_result
from fashioncnn.artifacts.model_folder import bundled_models, find_onnx
from fashioncnn.data.sketches import draw_sketches
from fashioncnn.loading import BackendName, open_model
from tables import markdown_table

ROUNDS = 20
CALLS = 50
"""Calls per round in this process."""
MODEL = "accurate"
PROCESS_MODELS = (MODEL, "photo")
BACKENDS: tuple[BackendName, ...] = ("onnx", "torch")
PHOTO_SIZE = (1200, 900)
"""Width and height."""


def measure_calls(rounds: int, images: NDArray[np.uint8]) -> dict[str, Result]:
    """Return the latency of one image in this process, by backend.

    Args:
        rounds: of `CALLS` calls each.
        images: (n, 28, 28) uint8, of which one after the other is predicted.
    """
    predictors = {name: open_model(Path(MODEL), name, "cpu").predictor for name in BACKENDS}
    singles = itertools.cycle(images[:, None])
    seconds: dict[str, list[float]] = {name: [] for name in BACKENDS}
    for number, (name, predictor) in itertools.product(range(rounds + 1), predictors.items()):
        for _ in range(CALLS):
            image, started = next(singles), time.perf_counter()
            predictor.predict_images(image)
            if number > 0:  # the first round is a warm-up
                seconds[name].append(time.perf_counter() - started)
    return {name: _percentiles_ms(values) for name, values in seconds.items()}


def _percentiles_ms(seconds: list[float]) -> Result:
    milliseconds = 1e3 * np.array(seconds)
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {
        "n": len(seconds),
        "ms_p50": float(p50),
        "ms_p99": float(p99),
        "ms_min": float(milliseconds.min()),
    }


def measure_processes(rounds: int, photo: Path, model: str) -> dict[str, Result]:
    """Return wall-clock and processor seconds of whole processes, by backend.

    Args:
        rounds: calls of each, after one that is not counted.
        photo: to predict.
        model: bundled model.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in BACKENDS}
    for number, name in itertools.product(range(rounds + 1), BACKENDS):
        used, started = _processor_seconds(), time.perf_counter()
        arguments = ["predict", str(photo), "--model", model, "--backend", name, "--device", "cpu"]
        command = [sys.executable, "-m", "fashioncnn", *arguments]
        subprocess.run(command, check=True, capture_output=True)
        if number > 0:
            elapsed = time.perf_counter() - started
            times[name].append((elapsed, _processor_seconds() - used))
    return {
        name: {
            "n": rounds,
            "wall_seconds_median": statistics.median(wall for wall, _ in of_backend),
            "wall_seconds_min": min(wall for wall, _ in of_backend),
            "processor_seconds_median": statistics.median(cpu for _, cpu in of_backend),
        }
        for name, of_backend in times.items()
    }


def _processor_seconds() -> float:
    """Return the processor time of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def installed_bytes(folder: Path) -> int:
    """Return the disk space that the base install adds to an environment, with bytecode.

    Args:
        folder: new, for the environment.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    before = _bytes_of(folder)
    constraints = str(ROOT / "constraints.txt")
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "-c", constraints, str(ROOT)]
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(pip, check=True, env=environment)
    return _bytes_of(folder) - before


def _bytes_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def print_tables(result: Result) -> None:
    """Print the measurements as Markdown."""
    calls, processes = result["one_image"], result["processes"]
    rows = [(n, f"{calls[n]['ms_p50']:.2f}", f"{calls[n]['ms_p99']:.2f}") for n in BACKENDS]
    print(markdown_table(("one image of 28×28", "p50, ms", "p99, ms"), rows))
    rows_of_processes = [
        (
            f"{model}, {name}",
            f"{of[name]['wall_seconds_median']:.2f}",
            f"{of[name]['processor_seconds_median']:.2f}",
        )
        for model, of in processes.items()
        for name in BACKENDS
    ]
    print(
        markdown_table(("predict of one JPEG", "seconds", "processor seconds"), rows_of_processes)
    )
    if "installed_bytes" in result:
        print(f"base install: {result['installed_bytes'] / 1e6:.0f} MB")


def main() -> None:
    """Measure, print, record."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--skip-install", action="store_true", help="do not measure disk space")
    options = parser.parse_args()
    images = draw_sketches().require_test().images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = folder / "photo.jpg"
        enlarged = Image.fromarray(255 - images[0]).resize(PHOTO_SIZE, Image.Resampling.BICUBIC)
        enlarged.convert("RGB").save(photo, quality=90)
        result = {
            **measurement_context(),
            "model": MODEL,
            "one_image": measure_calls(options.rounds, images),
            "processes": {
                model: measure_processes(options.rounds, photo, model)
                for model, path in bundled_models().items()
                if model in PROCESS_MODELS and find_onnx(path)
            },
        }
        if not options.skip_install:
            result["installed_bytes"] = installed_bytes(folder / "venv")
    print_tables(result)
    if options.rounds == ROUNDS and not options.skip_install:
        write_result(RESULTS / "backends.json", result)


if __name__ == "__main__":
    main()
