"""Compare ONNX files of 8-bit integers with those of fp32: size, accuracy, images per second.

    python benchmarks/int8.py                       about five minutes
    python benchmarks/int8.py --models accurate --rounds 3
    python benchmarks/int8.py --table

Exports bundled models with ``fashioncnn export``, to int8 calibrated on training images of
Fashion-MNIST, and evaluates both files on all 10,000 test images, which select nothing. Speed is
measured in turns in one process, on batches of test images. Writes
``benchmarks/results/int8.json``.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common import (
    RESULTS,
    Result,
    make_parser,
    measurement_context,
    read_result,
    require_official_data,
    run_fashioncnn,
    write_result,
)
from fashioncnn.data.load import load_dataset
from fashioncnn.loading import open_model
from tables import markdown_table

OUT = RESULTS / "int8.json"
MODELS = ("accurate", "photo")
PRECISIONS = ("fp32", "int8")
ROUNDS = 7
BATCH = 256
"""Images per round and file."""


def export(model: str, folder: Path) -> dict[str, Path]:
    """Write both ONNX files of a bundled model; return them by precision."""
    paths = {precision: folder / f"{model}-{precision}.onnx" for precision in PRECISIONS}
    for precision, path in paths.items():
        options = ["--int8", "--data", os.environ["FASHIONCNN_DATA"]] if precision == "int8" else []
        run_fashioncnn("export", model, *options, "--out", str(path), "--json")
    return paths


def measure_speed(paths: dict[str, Path], images: NDArray[np.uint8], rounds: int) -> Result:
    """Return images per second of each file, and the ratios of int8 to fp32 by round."""
    predictors = {name: open_model(path, "onnx", "cpu").predictor for name, path in paths.items()}
    rates: dict[str, list[float]] = {name: [] for name in paths}
    for number in range(rounds + 1):
        for name, predictor in predictors.items():
            started = time.perf_counter()
            predictor.predict_images(images)
            if number > 0:  # the first round is a warm-up
                rates[name].append(len(images) / (time.perf_counter() - started))
    ratios = [a / b for a, b in zip(rates["int8"], rates["fp32"], strict=True)]
    return {"images_per_second": rates, "ratios": ratios}


def measure(model: str, images: NDArray[np.uint8], rounds: int) -> Result:
    """Return sizes, test accuracies and speeds of a bundled model."""
    with tempfile.TemporaryDirectory() as folder:
        paths = export(model, Path(folder))
        result: Result = {"bytes": {name: path.stat().st_size for name, path in paths.items()}}
        result |= measure_speed(paths, images, rounds)
        for name, path in paths.items():
            output = run_fashioncnn(
                "evaluate", str(path), "--data", os.environ["FASHIONCNN_DATA"], "--json"
            )
            evaluated = json.loads(output)
            result[name] = {key: evaluated[key] for key in ("n", "accuracy", "accuracy_ci95")}
    return result


def to_markdown(models: Result) -> str:
    """Return a table, one line per model and precision."""
    rows = []
    for model, of in models.items():
        for name in PRECISIONS:
            median, low, high = (f(of["ratios"]) for f in (statistics.median, min, max))
            ratio = f"{median:.2f} [{low:.2f} – {high:.2f}]"
            rows.append(
                (
                    f"`{model}`, {name}",
                    f"{of['bytes'][name] / 1e6:.2f} MB",
                    f"{of[name]['accuracy']:.2%}",
                    f"{statistics.median(of['images_per_second'][name]):,.0f}",
                    ratio if name == "int8" else "",
                )
            )
    head = ("model", "size", "test accuracy", "images per second", "times as fast as fp32")
    return markdown_table(head, rows)


def main() -> None:
    """Measure, print, record."""
    parser = make_parser(__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--table", action="store_true", help="print the stored results as Markdown")
    options = parser.parse_args()
    if options.table:
        print(to_markdown(read_result(OUT)["models"]))
        return
    require_official_data()
    images = load_dataset(os.environ["FASHIONCNN_DATA"]).require_test().images[:BATCH]
    models = {model: measure(model, images, options.rounds) for model in options.models}
    print(to_markdown(models))
    if tuple(options.models) == MODELS and options.rounds == ROUNDS:
        write_result(OUT, {**measurement_context(), "batch_size": BATCH, "models": models})


if __name__ == "__main__":
    main()
