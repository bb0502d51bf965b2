"""Measure the training throughput of FashionCNN, here and in other frameworks.

    python benchmarks/bench.py
    python benchmarks/bench.py --only ours keras --rounds 3
    python benchmarks/bench.py --table benchmarks/results/bench-2026-11-23.json

Every implementation trains the same network with the same batch size and optimizer on
Fashion-MNIST, in a process and a virtual environment of its own, which is created if necessary. All
processes are started first; then rounds are interleaved: in each round, every implementation trains
for about ``--seconds`` while the others are idle. Other load on the machine so affects all of them
alike, and the ratios of a round compare measurements that are close in time. The machine's limit,
the rate of its matrix product, is measured in the same rounds.

Writes ``benchmarks/results/bench-<date>.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import statistics
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from common import RESULTS, Result, make_parser, read_result, require_official_data, write_result
from fashioncnn.environment import available_cores
from fashioncnn.files import write_atomic
from implementations import (
    IMPLEMENTATIONS,
    SkippedError,
    describe_machine,
    format_machine,
    names_for,
)
from measured_process import MeasuredProcess
from tables import format_range, markdown_table

UNCOUNTED_ROUNDS = 2
"""The first one is short, the second one as long as those that count."""
BATCH_SIZE = 128


def megaflop_per_image() -> float:
    """Return the arithmetic of a training step per image, in millions of operations.

    A multiplication and an addition count as two. The backward pass costs twice the forward pass,
    except that the first layer needs no gradient of its input.
    """
    first = 28 * 28 * 32 * (3 * 3 * 1)
    others = 14 * 14 * 64 * (3 * 3 * 32) + 3136 * 256 + 256 * 10
    return 2 * (2 * first + 3 * others) / 1e6


def start_processes(
    names: list[str],
    options: argparse.Namespace,
    running: dict[str, MeasuredProcess],
    skipped: dict[str, str],
) -> None:
    """Start the implementations one after another and warm them up.

    Args:
        names: of the implementations.
        options: of the command line. Those named by ``--only`` run on any processor.
        running: receives the processes.
        skipped: receives the reasons of those that cannot be measured.
    """
    for name in names:
        implementation = IMPLEMENTATIONS[name]
        try:
            if name not in (options.only or []):
                implementation.check_processor()
            implementation.prepare()
            command = implementation.command("throughput", options.threads, options.seed)
            running[name] = process = MeasuredProcess(command)
            for _ in range(UNCOUNTED_ROUNDS):
                process.run_round(options.seconds)
        except SkippedError as reason:
            running.pop(name, None)
            skipped[name] = str(reason)
            print(f"{name}: skipped: {reason}", file=sys.stderr, flush=True)
            continue
        print(f"{name}: {process.ready['name']}", file=sys.stderr, flush=True)


def run_rounds(
    running: dict[str, MeasuredProcess], skipped: dict[str, str], rounds: int, seconds: float
) -> dict[str, list[Result]]:
    """Return the measurements of every implementation, one per round, in a fixed order.

    One that fails moves from `running` to `skipped`, so that the others keep their measurements.
    """
    measurements: dict[str, list[Result]] = {name: [] for name in running}
    for number in range(1, rounds + 1):
        for name, process in list(running.items()):
            with skip_failed(name, running, skipped):
                measurements[name].append(process.run_round(seconds))
        print(f"round {number} of {rounds} done", file=sys.stderr, flush=True)
    return measurements


@contextlib.contextmanager
def skip_failed(
    name: str, running: dict[str, MeasuredProcess], skipped: dict[str, str]
) -> Iterator[None]:
    """Move an implementation that fails in this block from `running` to `skipped`."""
    try:
        yield
    except SkippedError as reason:
        del running[name]
        skipped[name] = f"failed while measured, {reason}"
        print(f"{name}: skipped: {skipped[name]}", file=sys.stderr, flush=True)


def measure(names: list[str], options: argparse.Namespace) -> Result:
    """Return the content of the result file."""
    machine = describe_machine(options.threads)
    skipped: dict[str, str] = {}
    running: dict[str, MeasuredProcess] = {}
    try:
        start_processes(names, options, running, skipped)
        measurements = run_rounds(running, skipped, options.rounds, options.seconds)
        last_messages = {}
        for name, process in list(running.items()):
            with skip_failed(name, running, skipped):
                last_messages[name] = process.finish()
    finally:
        for process in running.values():
            process.kill()
    return {
        "date": date.today().isoformat(),
        "command": shlex.join(["python", "benchmarks/bench.py", *sys.argv[1:]]),
        "machine": machine,
        "seed": options.seed,
        "batch_size": BATCH_SIZE,
        "megaflop_per_image": megaflop_per_image(),
        "rounds": options.rounds,
        "seconds_per_round": options.seconds,
        "reference": options.reference,
        "implementations": {
            name: {
                **{key: value for key, value in process.ready.items() if key != "ready"},
                "rounds": measurements[name],
                **last_messages[name],
            }
            for name, process in running.items()
        },
        "skipped": skipped,
    }


def rates(entry: Result, key: str = "images_per_second") -> list[float]:
    """Return a figure of an implementation, one value per round."""
    return [measurement[key] for measurement in entry["rounds"]]


def paired_speedups(reference: Result, other: Result) -> list[float]:
    """Return how many times as fast the reference is, by round."""
    return [a / b for a, b in zip(rates(reference), rates(other), strict=True)]


def limits_by_precision(result: Result) -> dict[str, list[float]]:
    """Return the machine's limits in GFLOP/s by precision, one value per round."""
    entries = result["implementations"].values()
    return {e["precision"]: rates(e, "gflops") for e in entries if "gflops" in e["rounds"][0]}


def fraction_of_limit(entry: Result, limits: list[float], megaflop: float) -> float:
    """Return the median fraction of the limit that an implementation reaches, paired by round."""
    pairs = zip(rates(entry), limits, strict=True)
    return statistics.median(rate * megaflop / 1e3 / limit for rate, limit in pairs)


def to_markdown(result: Result) -> str:
    """Return the table and the conditions of the measurement."""
    trained = {
        name: entry
        for name, entry in result["implementations"].items()
        if "images_per_second" in entry["rounds"][0]
    }
    columns = (
        "implementation",
        "images per second",
        f"speed-up of `{result['reference']}`",
        "fraction of the limit",
        "peak memory",
        "versions",
    )
    rows = [_row(result, name, trained) for name in trained]
    lines = [
        f"# Training throughput, {result['date']}",
        "",
        f"`{result['command']}` on {format_machine(result['machine'])} FashionCNN, batch size "
        f"{result['batch_size']}, Adam, {result['megaflop_per_image']:.1f} MFLOP per image; "
        f"{result['rounds']} interleaved rounds of about {result['seconds_per_round']:g} s: "
        "median [minimum – maximum]; speed-ups and fractions are paired by round.",
        "",
        markdown_table(columns, rows, left=(0, 5)),
        "",
        *_notes(result, trained),
        "",
    ]
    return "\n".join(lines)


def _row(result: Result, name: str, trained: dict[str, Result]) -> tuple[str, ...]:
    entry, reference = trained[name], trained.get(result["reference"])
    speedup = "" if reference is None else format_range(paired_speedups(reference, entry), 2)
    limits, megaflop = limits_by_precision(result), result["megaflop_per_image"]
    limit = limits.get(entry["precision"])
    return (
        f"{name}: {entry['name']}",
        format_range(rates(entry)),
        speedup,
        f"{fraction_of_limit(entry, limit, megaflop):.0%}" if limit else "",
        f"{entry['peak_memory_bytes'] / 1e6:,.0f} MB",
        ", ".join(f"{package} {version}" for package, version in entry["versions"].items()),
    )


def _notes(result: Result, trained: dict[str, Result]) -> Iterator[str]:
    limits, megaflop = limits_by_precision(result), result["megaflop_per_image"]
    for precision, values in limits.items():
        images = statistics.median(values) * 1e3 / megaflop
        yield (
            f"- Limit in {precision}: {format_range(values)} GFLOP/s, {images:,.0f} images per "
            "second."
        )
    if limits:
        yield (
            "- Fractions count the arithmetic of the layers as defined; kernels with fewer "
            "multiplications (Winograd) can exceed 100%."
        )
    others = [m["other_cores"] for e in trained.values() for m in e["rounds"] if "other_cores" in m]
    if others:
        yield (
            f"- Other programs used {format_range(others, 2)} cores meanwhile; the measurement is "
            "valid only if this is close to 0."
        )
    for name, reason in result["skipped"].items():
        yield f"- Skipped: {name}, {reason}."


def main() -> None:
    """Measure, record, print; or rewrite the table of a recorded result."""
    options = parse_options()
    if options.table:
        path, result = options.table, read_result(options.table)
    else:
        require_official_data()
        names = [n for n in names_for("throughput") if not options.only or n in options.only]
        result = measure(names, options)
        if not result["implementations"]:
            raise SystemExit("no implementation can be measured here")
        path = options.results / f"bench-{result['date']}.json"
        write_result(path, result)
    text = to_markdown(result)
    write_atomic(path.with_suffix(".md"), text.encode())
    print(text)


def parse_options() -> argparse.Namespace:
    """Return the checked options of the command line."""
    parser = make_parser(__doc__)
    known = names_for("throughput")
    parser.add_argument("--only", nargs="+", choices=known)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of a round")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--reference", choices=known, default="ours", help="the others are compared to it"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    parser.add_argument("--table", type=Path, help="rewrite the table of this result, run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
