"""Measure the throughput of `fashioncnn predict` on image files, and its peak memory.

    python benchmarks/predict.py                                 some minutes
    python benchmarks/predict.py --sizes 1000 --photos 40 --rounds 1

Creates JPEGs of 2000×1500 pixels and PNGs of 28×28 in a temporary folder (a few different ones and
hard links to them), predicts all of them with the bundled model `photo`, the default of
``fashioncnn predict`` for images, and prints Markdown tables. Both kinds are interleaved in rounds,
after one that is not counted. Peak memory is that of ``fashioncnn predict FOLDER --format jsonl
--out FILE`` in a process of its own. A run with the default options writes
``benchmarks/results/predict.json``.
"""

# ruff: noqa: E402 - OpenMP reads its limits when torch is imported
from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fashioncnn.openmp import configure_openmp

configure_openmp()  # as the command line does

import numpy as np
import torch
from PIL import Image

from common import RESULTS, Result, make_parser, measurement_context, write_result
from fashioncnn.config import kernels_from_environment
from fashioncnn.data.sketches import draw_sketches
from fashioncnn.devices import configure_process, resolve_kernels
from fashioncnn.images.files import walk_images
from fashioncnn.inference.predictor import Predictor
from fashioncnn.models.backend import torch_predictor
from fashioncnn.models.trained_model import load_model
from tables import markdown_table

SIZES = (1_000, 10_000, 100_000)
PHOTOS, ROUNDS = 200, 3
MODEL = Path("photo")
"""Name of a bundled model."""
PHOTO_SIZE = (2000, 1500)
"""Width and height."""
DISTINCT = {"jpg": 8, "png": 500}
"""Files that are not hard links to others."""
PREDICT_AND_PRINT_PEAK = (
    "import sys; from fashioncnn.cli import main; "
    "from fashioncnn.environment import peak_memory_bytes; "
    "code = main(sys.argv[1:]); print(peak_memory_bytes()); sys.exit(code)"
)


def create_photos(folder: Path, n: int) -> None:
    """Write `n` JPEGs: drawings of garments, enlarged, with camera noise."""
    rng = np.random.default_rng(0)
    drawings = draw_sketches().require_test().images
    folder.mkdir()
    for i in range(min(n, DISTINCT["jpg"])):
        photo = Image.fromarray(255 - drawings[i]).resize(PHOTO_SIZE, Image.Resampling.BICUBIC)
        noisy = np.asarray(photo, np.float32)[..., None] + rng.normal(0, 6, (*PHOTO_SIZE[::-1], 3))
        image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
        image.save(folder / f"{i:06}.jpg", quality=90)
    add_links(folder, "jpg", n)


def create_pngs(folder: Path, n: int) -> None:
    """Write `n` grey PNGs of 28×28."""
    folder.mkdir()
    drawings = draw_sketches().require_test().images
    for i in range(min(n, DISTINCT["png"])):
        Image.fromarray(drawings[i]).save(folder / f"{i:06}.png")
    add_links(folder, "png", n)


def add_links(folder: Path, suffix: str, n: int) -> None:
    """Add hard links to the existing files until the folder has `n` files."""
    distinct = DISTINCT[suffix]
    for i in range(distinct, n):
        (folder / f"{i:06}.{suffix}").hardlink_to(folder / f"{i % distinct:06}.{suffix}")


def load_predictor() -> Predictor:
    """Return the predictor of `MODEL`, as ``fashioncnn predict`` creates it."""
    configure_process("auto")
    device = torch.device("cpu")
    kernels = resolve_kernels(kernels_from_environment(), device)
    return torch_predictor(load_model(MODEL, device, kernels))


def images_per_second(predictor: Predictor, folder: Path) -> float:
    """Return the throughput from files to probabilities."""
    started = time.perf_counter()
    n = sum(p.error is None for p in predictor.predict_files(walk_images(folder)))
    return n / (time.perf_counter() - started)


def peak_memory(model: Path, folder: Path, out: Path) -> int:
    """Return the peak resident bytes of ``fashioncnn predict`` on all files of a folder."""
    command = [sys.executable, "-c", PREDICT_AND_PRINT_PEAK, "predict", str(folder)]
    command += ["--model", str(model), "--format", "jsonl", "--out", str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


def measure_memory(folder: Path, sizes: list[int], photos: int) -> list[Result]:
    """Return peak memory for each number of PNGs, and for the JPEGs; creates all files."""
    memory = []
    for size in sizes:
        create_pngs(folder / f"png-{size}", size)
        peak = peak_memory(MODEL, folder / f"png-{size}", folder / "out")
        memory.append({"files": size, "kind": "PNGs of 28×28", "peak_memory_bytes": peak})
    create_photos(folder / "jpg", photos)
    peak = peak_memory(MODEL, folder / "jpg", folder / "out")
    return [*memory, {"files": photos, "kind": "JPEGs", "peak_memory_bytes": peak}]


def measure_rates(kinds: dict[str, Path], rounds: int) -> dict[str, list[float]]:
    """Return images per second by kind, a value per round."""
    predictor = load_predictor()
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        for kind, folder in kinds.items():
            rate = images_per_second(predictor, folder)
            if number:  # the first round warms up
                rates[kind].append(rate)
    return rates


def to_markdown(result: Result) -> str:
    """Return the tables of throughput and memory."""
    rates = [
        (
            name,
            f"{statistics.median(values):,.0f}",
            f"{min(values):,.0f} – {max(values):,.0f}",
            str(len(values)),
        )
        for name, values in result["rates"].items()
    ]
    memory = [
        (f"{row['files']:,} {row['kind']}", f"{row['peak_memory_bytes'] / 1e6:,.0f} MB")
        for row in result["memory"]
    ]
    columns = ("a folder of", "images per second", "minimum – maximum", "rounds")
    by_kind = markdown_table(columns, rates)
    return f"{by_kind}\n\n{markdown_table(('files', 'peak memory'), memory, left=())}"


def main() -> None:
    """Create the files, measure, record, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="PNGs")
    parser.add_argument("--photos", type=int, default=PHOTOS, help="JPEGs")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fashioncnn-predict-") as name:
        folder = Path(name)
        memory = measure_memory(folder, options.sizes, options.photos)
        kinds = {
            f"{options.photos:,} JPEGs of {PHOTO_SIZE[0]}×{PHOTO_SIZE[1]}": folder / "jpg",
            f"{options.sizes[0]:,} PNGs of 28×28": folder / f"png-{options.sizes[0]}",
        }
        rates = measure_rates(kinds, options.rounds)
    context = {**measurement_context(), "torch": torch.__version__, "load": os.getloadavg()[0]}
    result = {**context, "rates": rates, "memory": memory}
    if (tuple(options.sizes), options.photos, options.rounds) == (SIZES, PHOTOS, ROUNDS):
        write_result(RESULTS / "predict.json", result)
    print(f"\n{result['cpu']}, {result['cores']} cores, {result['date']}\n")
    print(to_markdown(result))


if __name__ == "__main__":
    main()
