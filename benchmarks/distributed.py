"""Compare two processes of one thread each with one process of two threads.

    python benchmarks/distributed.py
    python benchmarks/distributed.py --rounds 0        # accuracy only

Both train the same recipe at the same batch size by ``fashioncnn train``, the two processes by
``torchrun`` (`DistributedDataParallel` over gloo). Speed: images per second of the last epoch and
the largest sum of the resident memory of all processes, in interleaved rounds; medians. Accuracy:
on the validation split, for several seeds; the processes differ in dropout and batch norm
statistics. Writes ``benchmarks/results/distributed.json``.
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

from common import (
    RESULTS,
    Result,
    make_parser,
    measurement_context,
    require_official_data,
    write_result,
)
from tables import markdown_table

FASHIONCNN = ["-m", "fashioncnn", "train"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
VARIANTS = {
    "1 process, 2 threads": [*FASHIONCNN, "--threads", "2"],
    "2 processes, 1 thread each": [*TORCHRUN, *FASHIONCNN, "--threads", "1"],
}
SECONDS_BETWEEN_SAMPLES = 0.05


def main() -> None:
    """Run all trainings and write the result."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of the speed (default: 5)")
    parser.add_argument("--seeds", type=int, default=3, help="of the accuracy (default: 3)")
    parser.add_argument("--epochs", type=int, default=3, help="of the accuracy (default: 3)")
    parser.add_argument("--recipes", nargs="+", default=["baseline", "fast93"])
    parser.add_argument("--out", type=Path, default=RESULTS / "distributed.json")
    arguments = parser.parse_args()
    require_official_data()
    content: Result = {**measurement_context(), "load": os.getloadavg()[0]}
    content["recipes"] = {
        recipe: {
            "speed": measure_speed(recipe, arguments.rounds),
            "accuracy": measure_accuracy(recipe, arguments.seeds, arguments.epochs),
        }
        for recipe in arguments.recipes
    }
    write_result(arguments.out, content)
    for recipe, measured in content["recipes"].items():
        print(f"\n{recipe}\n\n{table(measured)}")


def measure_speed(recipe: str, rounds: int) -> Result:
    """Return the measurements of each variant, in rounds."""
    speed: Result = {variant: [] for variant in VARIANTS}
    options = ["--epochs", "2", "--validation", "0", "--no-track-test"]
    for number in range(rounds):
        for variant in VARIANTS:
            history, memory = train(variant, recipe, options)
            rate = history[-1]["images_per_second"]
            speed[variant].append({"images_per_second": rate, "memory_bytes": memory})
            note(f"{recipe}, round {number + 1}/{rounds}, {variant}: {rate:,.0f} images/s")
    return speed


def measure_accuracy(recipe: str, seeds: int, epochs: int) -> Result:
    """Return the final metrics on the validation split of each variant, by seed."""
    accuracy: Result = {variant: [] for variant in VARIANTS}
    for seed in range(seeds):
        for variant in VARIANTS:
            options = ["--epochs", str(epochs), "--validation", "auto", "--no-track-test"]
            last = train(variant, recipe, [*options, "--seed", str(seed)])[0][-1]
            metrics = {key: last[key] for key in ("train_loss", "val_loss", "val_accuracy")}
            accuracy[variant].append(metrics)
            note(f"{recipe}, seed {seed}, {variant}: {100 * last['val_accuracy']:.2f}%")
    return accuracy


def train(variant: str, recipe: str, options: list[str]) -> tuple[list[Result], int]:
    """Train on the CPU; return the history and the largest sum of resident memory, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, *VARIANTS[variant], recipe, *options, "--device", "cpu"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (Path(folder) / "errors").open("w+") as errors:
            process = subprocess.Popen(
                [*command, "--out", str(run)],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment,
            )
            memory = 0
            while process.poll() is None:
                memory = max(memory, sum(map(resident_bytes, descendants(process.pid))))
                time.sleep(SECONDS_BETWEEN_SAMPLES)
            if process.returncode:
                errors.seek(0)
                raise SystemExit(errors.read())
        lines = (run / "history.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines], memory


def descendants(pid: int) -> list[int]:
    """Return a process and all that it has started, while they run."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [pid, *(one for child in text.split() for one in descendants(int(child)))]


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 once it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def table(measured: Result) -> str:
    """Return the medians and means of a recipe as a Markdown table."""
    rows = []
    for variant in VARIANTS:
        speed, accuracy = measured["speed"][variant], measured["accuracy"][variant]
        cells = [variant]
        for key, factor, form in (("images_per_second", 1, ",.0f"), ("memory_bytes", 1e-6, ",.0f")):
            values = [factor * one[key] for one in speed]
            cells.append(
                f"{statistics.median(values):{form}} [{min(values):{form}} – {max(values):{form}}]"
                if values
                else "—"
            )
        for key, factor, digits in (("val_accuracy", 100, 2), ("val_loss", 1, 4)):
            values = [factor * one[key] for one in accuracy]
            std = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.{digits}f} ± {std:.{digits}f}")
        rows.append(cells)
    header = ["", "images/s", "memory, MB", "validation accuracy, %", "validation loss"]
    return markdown_table(header, rows)


def note(message: str) -> None:
    """Print a message on stderr."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
