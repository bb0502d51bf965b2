"""How fast `fashioncnn predict` goes over files, and whether its memory grows with them.

    python benchmarks/predict.py                                 # some minutes
    python benchmarks/predict.py --sizes 1000 --photos 40 --rounds 1

Makes JPEGs of 2,000 pixels and PNGs of 28×28 in a temporary folder, a few of each and hard links
to them, predicts all of them with `photo`, the default of ``fashioncnn predict`` for images, and
prints a Markdown table. The two kinds take turns, round after round, after one that does
not count. Peak memory is that of ``fashioncnn predict FOLDER --format jsonl --out FILE`` in a
process of its own. Writes ``benchmarks/results/predict.json`` where it runs in full.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fashioncnn.data.sketches import draw_sketches
from fashioncnn.images.files import walk_images
from fashioncnn.inference.predictor import predict_files
from fashioncnn.models.trained_model import TrainedModel, load_model
from fashioncnn.runtime import available_cores, cpu_name, prepare_prediction, use_passive_waiting

SIZES = (1_000, 10_000, 100_000)
PHOTOS, ROUNDS = 200, 3
MODEL = Path("photo")
"""By its name: it comes with the package."""
PHOTO_SIZE = (2000, 1500)
DIFFERENT = {"jpg": 8, "png": 500}
"""Files that are not links to others."""
MEASURED = (
    "import sys; from fashioncnn.cli import main; "
    "from fashioncnn.runtime import peak_memory_bytes; "
    "code = main(sys.argv[1:]); print(peak_memory_bytes()); sys.exit(code)"
)
RESULT = Path(__file__).parent / "results" / "predict.json"


def make_photos(folder: Path, n: int) -> None:
    """Write `n` JPEGs: drawings of garments, enlarged, with the noise of a camera."""
    rng = np.random.default_rng(0)
    drawings = draw_sketches().require_test().images
    folder.mkdir()
    for i in range(min(n, DIFFERENT["jpg"])):
        photo = Image.fromarray(255 - drawings[i]).resize(PHOTO_SIZE, Image.Resampling.BICUBIC)
        noisy = np.asarray(photo, np.float32)[..., None] + rng.normal(0, 6, (*PHOTO_SIZE[::-1], 3))
        image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
        image.save(folder / f"{i:06}.jpg", quality=90)
    link_files(folder, "jpg", n)


def make_pngs(folder: Path, n: int) -> None:
    """Write `n` grey PNGs of 28×28."""
    folder.mkdir()
    drawings = draw_sketches().require_test().images
    for i in range(min(n, DIFFERENT["png"])):
        Image.fromarray(drawings[i]).save(folder / f"{i:06}.png")
    link_files(folder, "png", n)


def link_files(folder: Path, suffix: str, n: int) -> None:
    """Bring the files of a folder to `n`, by hard links to those that are there."""
    there = DIFFERENT[suffix]
    for i in range(there, n):
        (folder / f"{i:06}.{suffix}").hardlink_to(folder / f"{i % there:06}.{suffix}")


def rate(model: TrainedModel, folder: Path) -> float:
    """Return images per second, from files to probabilities."""
    started = time.perf_counter()
    n = sum(prediction.error is None for prediction in predict_files(model, walk_images(folder)))
    return n / (time.perf_counter() - started)


def peak_memory(model: Path, folder: Path, out: Path) -> int:
    """Return the peak resident bytes of a command over all files of a folder."""
    command = [sys.executable, "-c", MEASURED, "predict", str(folder), "--model", str(model)]
    command += ["--format", "jsonl", "--out", str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


def show(result: dict[str, Any]) -> None:
    """Print the tables."""
    print(f"\n{result['cpu']}, {result['cores']} cores, {result['date']}\n")
    print("| a folder of | images per second | lowest – highest | rounds |")
    print("| --- | ---: | ---: | ---: |")
    for name, rates in result["rates"].items():
        spread = f"{min(rates):,.0f} – {max(rates):,.0f}"
        print(f"| {name} | {statistics.median(rates):,.0f} | {spread} | {len(rates)} |")
    print("\n| files | peak memory |\n| ---: | ---: |")
    for row in result["memory"]:
        print(f"| {row['files']:,} {row['kind']} | {row['peak_memory_bytes'] / 1e6:,.0f} MB |")


def main() -> None:
    """Make the files, measure, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--photos", type=int, default=PHOTOS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    if "OMP_WAIT_POLICY" not in os.environ:  # as `predict` does; torch is imported here already
        use_passive_waiting()
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606
    in_full = (tuple(arguments.sizes), arguments.photos, arguments.rounds) == (
        SIZES,
        PHOTOS,
        ROUNDS,
    )
    with tempfile.TemporaryDirectory(prefix="fashioncnn-predict-") as name:
        folder = Path(name)
        make_photos(folder / "jpg", arguments.photos)
        memory = []
        for size in arguments.sizes:
            make_pngs(folder / f"png-{size}", size)
            peak = peak_memory(MODEL, folder / f"png-{size}", folder / "out")
            memory.append({"files": size, "kind": "PNGs of 28×28", "peak_memory_bytes": peak})
        peak = peak_memory(MODEL, folder / "jpg", folder / "out")
        memory.append({"files": arguments.photos, "kind": "JPEGs", "peak_memory_bytes": peak})
        model = load_model(MODEL, prepare_prediction("cpu"))
        kinds = {
            f"{arguments.photos:,} JPEGs of {PHOTO_SIZE[0]}×{PHOTO_SIZE[1]}": folder / "jpg",
            f"{arguments.sizes[0]:,} PNGs of 28×28": folder / f"png-{arguments.sizes[0]}",
        }
        rates: dict[str, list[float]] = {kind: [] for kind in kinds}
        for number in range(arguments.rounds + 1):
            for kind, place in kinds.items():
                measured = rate(model, place)
                if number:  # the first warms up
                    rates[kind].append(measured)
    result = {
        "date": date.today().isoformat(),
        "cpu": cpu_name(),
        "cores": available_cores(),
        "torch": torch.__version__,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "rates": rates,
        "memory": memory,
    }
    if in_full:
        RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    show(result)


if __name__ == "__main__":
    main()
