"""Measure the speed of `predict` on photographs, in turns with another checkout.

    python benchmarks/photo_speed.py --reference ../fashioncnn-0.3       some minutes

Creates JPEGs of 2000×1500 pixels in a temporary folder. In each round, this checkout and the
reference do the same in processes of their own:

- processor time of one image on one core: decoding, views, and the rest, which is the network;
- images per second of ``fashioncnn predict FOLDER`` on all cores, the start of Python not counted.

Medians over the rounds, and of each round's images, are printed and written to
``benchmarks/results/photo_speed.json``. The reference is a folder with ``src/fashioncnn`` of
another version, as `git worktree add` creates it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import RESULTS, ROOT, Result, last_line, make_parser, measurement_context, write_result
from tables import markdown_table

PHOTOS, ROUNDS = 24, 3
SINGLE_IMAGES, WARM_UP = 16, 2
"""Images of which the processor time is measured, and the first that are not counted."""
STAGES = ("decode", "views", "network")
MODES = ("stages", "folder")
FOLDER_TIMEOUT = 600.0


def measure_stages(folder: Path) -> Result:
    """Return the median processor time of each stage in milliseconds, on one core."""
    from fashioncnn import Classifier
    from fashioncnn.images.decoding import decoded_side, read_image
    from fashioncnn.images.views import compute_views

    classifier = Classifier.load("photo")
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for path in sorted(folder.iterdir())[: WARM_UP + SINGLE_IMAGES]:
        started = time.process_time()
        (prediction,) = classifier.predictions(path)
        predicted = time.process_time()
        assert prediction.views is not None, path  # noqa: S101
        size, channels = prediction.views.shape[2], (*prediction.views.shape, 1)[3]
        image = read_image(path, min_side=decoded_side(size))
        decoded = time.process_time()
        compute_views(image, "photo", size, channels)
        viewed = time.process_time()
        times["decode"].append(decoded - predicted)
        times["views"].append(viewed - decoded)
        times["network"].append(predicted - started - (viewed - predicted))
    return {stage: 1e3 * statistics.median(values[WARM_UP:]) for stage, values in times.items()}


def measure_folder(folder: Path) -> Result:
    """Return images per second of the command, called twice: the second time is measured."""
    from fashioncnn.cli import main as run

    command = ["predict", str(folder), "--model", "photo", "--format", "jsonl", "--out"]
    with tempfile.TemporaryDirectory() as outputs:
        for name in ("warm-up.jsonl", "predictions.jsonl"):
            started = time.perf_counter()
            if code := run([*command, str(Path(outputs) / name)]):
                raise SystemExit(f"predict failed with status {code}")
            seconds = time.perf_counter() - started
    return {"images_per_second": len(list(folder.iterdir())) / seconds}


def measure(checkout: Path, mode: str, folder: Path) -> Result:
    """Return the measurement of a checkout, made in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", mode, str(folder)]
    if mode == "stages":
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment |= dict.fromkeys(threads, "1")
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=FOLDER_TIMEOUT,
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: {last_line(done.stderr)}")
    measurement: Result = json.loads(last_line(done.stdout))
    return measurement


def measure_in_turns(checkouts: dict[str, Path], folder: Path, rounds: int) -> Result:
    """Return a list of measurements for each checkout, one per round."""
    measured: dict[str, list[Result]] = {name: [] for name in checkouts}
    for _ in range(rounds):
        for name, checkout in checkouts.items():
            stages, rate = (measure(checkout, mode, folder) for mode in MODES)
            measured[name].append({**stages, **rate})
    return measured


def to_markdown(measured: dict[str, list[Result]]) -> str:
    """Return the table of medians, with the range of the throughput."""
    rows = []
    for name, rounds in measured.items():
        stages = [statistics.median(r[stage] for r in rounds) for stage in STAGES]
        rates = [r["images_per_second"] for r in rounds]
        cells = [f"{value:.1f}" for value in (*stages, sum(stages))]
        spread = f"{statistics.median(rates):.1f} ({min(rates):.1f} – {max(rates):.1f})"
        rows.append((name, *cells, spread))
    columns = ("version", *(f"{stage}, ms" for stage in STAGES), "sum, ms", "images/s of a folder")
    return markdown_table(columns, rows)


def _measure_here(mode: str, folder: Path) -> None:
    if mode == "stages" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps(measure_stages(folder) if mode == "stages" else measure_folder(folder)))


def main() -> None:
    """Create the images, measure, record, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--reference", type=Path, help="folder of another version's checkout")
    parser.add_argument("--photos", type=int, default=PHOTOS, help="JPEGs")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--measure", nargs=2, metavar=("MODE", "FOLDER"), help="used internally")
    options = parser.parse_args()
    if options.measure:
        _measure_here(options.measure[0], Path(options.measure[1]))
        return
    from predict import create_photos

    checkouts = {"this version": ROOT}
    if options.reference:
        if not (options.reference / "src" / "fashioncnn").is_dir():
            raise SystemExit(f"--reference {options.reference}: no src/fashioncnn in it")
        checkouts = {"reference": options.reference.resolve(), **checkouts}
    with tempfile.TemporaryDirectory(prefix="fashioncnn-photos-") as name:
        create_photos(Path(name) / "jpg", options.photos)
        measured = measure_in_turns(checkouts, Path(name) / "jpg", options.rounds)
    result = {**measurement_context(), "load": os.getloadavg()[0], "rounds": measured}
    if (options.photos, options.rounds) == (PHOTOS, ROUNDS):
        write_result(RESULTS / "photo_speed.json", result)
    print(
        f"\n{result['cpu']}, {result['cores']} cores, {result['date']}\n\n{to_markdown(measured)}"
    )


if __name__ == "__main__":
    main()
