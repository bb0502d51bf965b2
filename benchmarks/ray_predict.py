"""Measure `fashioncnn predict --ray` against plain `predict`: images per second and memory.

    python benchmarks/ray_predict.py                             an hour; nothing else may run
    python benchmarks/ray_predict.py --images 2000 --rounds 1    some minutes
    python benchmarks/ray_predict.py --table                     the recorded result as Markdown

Small PNGs (28×28; 500 different drawings and hard links to them) are predicted with the bundled
model `accurate`, whose cost per image is the lowest, so that the overhead of Ray is at its highest:

- ``plain``: without Ray, one process with a thread per core;
- ``auto``: ``--ray auto``, a Ray that the command starts and ends;
- ``1 node``: a cluster that runs, with one node process for all cores;
- ``2 nodes``: the same with two node processes, which share the cores.

A command of one image measures what does not depend on the number of images: the start of Python
and Ray, the connection, the first actor. Memory is the largest sum of the resident memory of all
processes, Ray's included, sampled twice per second; pages that processes share count in each.
Variants are interleaved in rounds. With the default number of images or more, the result is written
to ``benchmarks/results/ray_predict.json``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from common import (
    RESULTS,
    Result,
    last_line,
    make_parser,
    measurement_context,
    read_result,
    write_result,
)
from predict import create_pngs
from tables import markdown_table

IMAGES, ROUNDS = 100_000, 3
VARIANTS = ("plain", "auto", "1 node", "2 nodes")
FILE = RESULTS / "ray_predict.json"
SAMPLE_SECONDS = 0.5
STORE_BYTES = 128 << 20
"""Object store of a node."""
PAGE = os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def cluster(nodes: int, cores: int) -> Iterator[str]:
    """Run a cluster of node processes that share the cores; yield its address."""
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="fashioncnn-bench-", dir="/tmp")
    store = {"object_store_memory": STORE_BYTES, "include_dashboard": False}
    running = Cluster(True, head_node_args={"num_cpus": 0, "temp_dir": folder, **store})
    try:
        for number in range(nodes):
            share = cores // nodes + (number < cores % nodes)
            running.add_node(num_cpus=max(1, share), **store)
        yield running.address
    finally:
        running.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def resident_bytes() -> int:
    """Return the resident memory of all descendants of this process."""
    total, parents = 0, [os.getpid()]
    while parents:
        parent = parents.pop()
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # ended meanwhile
                parents += (ours := [int(pid) for pid in children.read_text().split()])
                for pid in ours:
                    total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    return total


class PeakMemory:
    """The largest sum of resident memory during a block."""

    def __enter__(self) -> PeakMemory:
        self.bytes = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._end.wait(SAMPLE_SECONDS):
            self.bytes = max(self.bytes, resident_bytes())


def predict(folder: Path, address: str | None) -> tuple[float, int]:
    """Predict a folder; return wall-clock seconds and the peak memory in bytes.

    Args:
        folder: of images.
        address: value of ``--ray``; None is without.
    """
    with tempfile.TemporaryDirectory(prefix="fashioncnn-ray-out-") as name:
        out = Path(name) / ("out.csv" if address is None else "out")
        command = [sys.executable, "-m", "fashioncnn", "predict", str(folder)]
        command += ["--model", "accurate", "--out", str(out)]
        command += [] if address is None else ["--ray", address]
        environment = {**os.environ, "RAY_ADDRESS": "local"}  # of auto
        started = time.perf_counter()
        with PeakMemory() as memory:
            done = subprocess.run(
                command, stderr=subprocess.PIPE, text=True, env=environment, check=False
            )
        if done.returncode:
            raise SystemExit(f"predict failed: {last_line(done.stderr)}")
        return time.perf_counter() - started, memory.bytes


def measure_variant(variant: str, folder: Path, one: Path, cores: int) -> Result:
    """Return seconds and memory of a variant, and the seconds of one image."""
    with contextlib.ExitStack() as stack:
        address = {"plain": None, "auto": "auto"}.get(variant)
        if variant.endswith(("node", "nodes")):
            address = stack.enter_context(cluster(int(variant[0]), cores))
        start, _ = predict(one, address)
        seconds, memory = predict(folder, address)
    return {"start_seconds": start, "seconds": seconds, "peak_resident_bytes": memory}


def measure_coordinator(folder: Path) -> Result:
    """Return the rates of what the command does alone, in images per second, and sizes in bytes.

    These are the list of images, written in shards, and the manifest, which reads all parts.
    """
    from fashioncnn.cli.predict_ray import SHARD_SIZE
    from fashioncnn.cluster.inputs import list_inputs, write_inputs
    from fashioncnn.cluster.job import JobFolder
    from fashioncnn.cluster.manifest import write_manifest
    from fashioncnn.inference.sources import find_sources

    with tempfile.TemporaryDirectory(prefix="fashioncnn-ray-lists-") as name:
        lists = JobFolder(Path(name))
        lists.inputs.mkdir()
        sources = find_sources([str(folder)], sys.stdin.buffer, 0)
        started = time.perf_counter()
        listing = list_inputs(
            sources, SHARD_SIZE, lambda shard, given: write_inputs(lists.input_list(shard), given)
        )
        listed = time.perf_counter() - started
        input_bytes = sum(path.stat().st_size for path in lists.inputs.iterdir())
        out = Path(name) / "out"
        command = [sys.executable, "-m", "fashioncnn", "predict", str(folder), "--ray", "auto"]
        command += ["--model", "accurate", "--out", str(out)]
        environment = {**os.environ, "RAY_ADDRESS": "local"}
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env=environment)
        job = JobFolder(out)
        started = time.perf_counter()
        write_manifest(job, job.read_job(), lambda _: None)
        verified = time.perf_counter() - started
        part_bytes = sum(path.stat().st_size for path in out.glob("part-*"))
    n = listing.images
    return {
        "listed_per_second": n / listed,
        "verified_per_second": n / verified,
        "input_bytes_per_image": input_bytes / n,
        "part_bytes_per_image": part_bytes / n,
    }


def measure(images: int, rounds: int, variants: list[str]) -> Result:
    """Return all measurements."""
    import ray

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    context = measurement_context()
    measured: dict[str, list[Result]] = {variant: [] for variant in variants}
    with tempfile.TemporaryDirectory(prefix="fashioncnn-ray-images-") as name:
        folder, one = Path(name) / "images", Path(name) / "one"
        create_pngs(folder, images)
        one.mkdir()
        shutil.copy(folder / "000000.png", one)
        for number in range(rounds):
            for variant in variants:
                row = measure_variant(variant, folder, one, context["cores"])
                measured[variant].append(row)
                print(f"round {number + 1}, {variant}: {row['seconds']:.1f} s", file=sys.stderr)
        coordinator = measure_coordinator(folder)
    return {
        **context,
        "ray": ray.__version__,
        "load": os.getloadavg()[0],
        "images": images,
        "variants": measured,
        "coordinator": coordinator,
    }


def to_markdown(result: Result) -> str:
    """Return the table of variants, and a line about the coordinator."""
    n, rows = result["images"], []
    for variant, measured in result["variants"].items():
        totals = [n / row["seconds"] for row in measured]
        without = [n / max(row["seconds"] - row["start_seconds"], 1e-9) for row in measured]
        rows.append(
            (
                variant,
                _median([row["start_seconds"] for row in measured], 1),
                _with_range(totals),
                _with_range(without),
                f"{max(row['peak_resident_bytes'] for row in measured) / 1e6:,.0f} MB",
                str(len(measured)),
            )
        )
    columns = ("variant", "seconds of one image", "images/s", "without start", "memory", "n")
    own = result["coordinator"]
    return (
        f"{markdown_table(columns, rows)}\n\n"
        f"The command alone lists {own['listed_per_second']:,.0f} images per second and verifies "
        f"{own['verified_per_second']:,.0f}; an image takes {own['input_bytes_per_image']:.1f} "
        f"bytes in the lists and {own['part_bytes_per_image']:.1f} in the parts."
    )


def _median(values: list[float], digits: int) -> str:
    return f"{statistics.median(values):,.{digits}f}"


def _with_range(values: list[float]) -> str:
    return f"{_median(values, 0)} ({min(values):,.0f} – {max(values):,.0f})"


def main() -> None:
    """Measure, record, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--table", action="store_true", help="print the recorded result")
    options = parser.parse_args()
    if options.table:
        result = read_result(FILE)
    else:
        result = measure(options.images, options.rounds, options.variants)
        if options.images >= IMAGES and len(options.variants) == len(VARIANTS):
            write_result(FILE, result)
    print(
        f"{result['cpu']}, {result['cores']} cores, {result['images']:,} images, {result['date']}\n"
    )
    print(to_markdown(result))


if __name__ == "__main__":
    main()
