"""How many images a second FashionCNN learns from, here and in what others would use.

    python benchmarks/bench.py
    python benchmarks/bench.py --only ours keras --rounds 3

Every contestant trains the same network, batch and optimiser on Fashion-MNIST, in a process and an
environment of its own, made when it is missing. All are started, and then take turns: in every
round each trains for about ``--seconds`` while the others wait. What else the machine does so slows
all of them alike, and the ratio of a round compares neighbours in time. The machine's own limit,
the rate of its matrix product, takes its turns among them.

Writes ``benchmarks/results/bench-<date>.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

from contestants import (
    CONTESTANTS,
    HERE,
    LeftOutError,
    check_processor,
    describe_machine,
    last_line,
    make_environment,
    names_for,
    official_data,
    tell_machine,
)
from fashioncnn.files import write_atomic, write_json
from fashioncnn.runtime import available_cores

CALIBRATION_STEPS = 10
"""Of the very first round, which tells how many the next has."""
UNCOUNTED_ROUNDS = 2
"""The first of a few steps, the second as long as those that count."""
PATIENCE = 300.0
"""Seconds after which a contestant that gives no answer is given up."""

Result = dict[str, Any]


class Process:
    """A contestant at work; waits whenever it is not asked for a round."""

    def __init__(self, command: list[str]) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the process
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.steps = CALIBRATION_STEPS
        self.ready = self._answer()

    def round(self, seconds: float) -> Result:
        """Have it train for about `seconds`, as long as the last round tells; return its answer."""
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        started, busy, own = time.perf_counter(), busy_seconds(), self._cpu_seconds()
        try:
            self.process.stdin.write(f"{self.steps}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise LeftOutError(self._why()) from None
        answer = self._answer()
        now = busy_seconds()
        if busy is not None and now is not None:
            others = now - busy - (self._cpu_seconds() - own)
            answer["other_cores"] = max(0.0, others) / (time.perf_counter() - started)
        self.steps = max(1, round(self.steps * seconds / answer["seconds"]))
        return answer

    def finish(self) -> Result:
        """Tell it that there are no more rounds, and return its last words."""
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        self.process.stdin.close()
        last = self._answer()
        self.process.wait(PATIENCE)
        return last

    def kill(self) -> None:
        """End it, whatever it does; nothing where it has ended."""
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.errors):
            if file is not None:
                file.close()

    def _cpu_seconds(self) -> float:
        """Return the processor time of the process and its workers, as far as the system tells."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # ended meanwhile
                # The name, in brackets, may hold anything; then come state, parent, …
                words = stat.read_text().rpartition(")")[2].split()
                if self.process.pid in (int(stat.parent.name), int(words[1])):
                    ticks += int(words[11]) + int(words[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _answer(self) -> Result:
        assert self.process.stdout is not None  # noqa: S101 - for the type checker
        patience = threading.Timer(PATIENCE, self.process.kill)
        patience.daemon = True
        patience.start()
        try:
            line = self.process.stdout.readline()
        finally:
            patience.cancel()
        if not line:
            raise LeftOutError(self._why())
        answer: Result = json.loads(line)
        return answer

    def _why(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        why = f"ended with {code}: {last_line(self.errors.read())}"
        self.kill()
        return why


def busy_seconds() -> float | None:
    """Return how long the processors were busy since the machine began, all together.

    What a hypervisor gave to other machines counts too. None where the system does not tell.
    """
    try:
        words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in words)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def megaflop_per_image() -> float:
    """Return the arithmetic of a training step for an image, in millions of operations.

    A multiplication and an addition are two. The way back costs twice the way there, except that
    the first layer needs no gradient of its images.
    """
    first = 28 * 28 * 32 * (3 * 3 * 1)
    others = 14 * 14 * 64 * (3 * 3 * 32) + 3136 * 256 + 256 * 10
    return 2 * (2 * first + 3 * others) / 1e6


def start(
    names: list[str],
    options: argparse.Namespace,
    running: dict[str, Process],
    left_out: dict[str, str],
) -> None:
    """Start the contestants one after another, and let them warm up; tell of those that cannot.

    Those that run are added to `running`, the reasons of the others to `left_out`.
    """
    for name in names:
        contestant = CONTESTANTS[name]
        try:
            if name not in (options.only or []):
                check_processor(contestant)
            if contestant.requirements is not None:
                make_environment(contestant.requirements)
            process = Process(contestant.command("throughput", options.threads, options.seed))
            for _ in range(UNCOUNTED_ROUNDS):
                process.round(options.seconds)
        except LeftOutError as reason:
            left_out[name] = str(reason)
            print(f"{name} is left out: {reason}", file=sys.stderr, flush=True)
            continue
        running[name] = process
        print(f"{name}: {process.ready['name']}", file=sys.stderr, flush=True)


def take_turns(running: dict[str, Process], rounds: int, seconds: float) -> dict[str, list[Result]]:
    """Return what every contestant came to in every round, always in the same order."""
    results: dict[str, list[Result]] = {name: [] for name in running}
    for number in range(1, rounds + 1):
        for name, process in running.items():
            results[name].append(process.round(seconds))
        print(f"round {number} of {rounds} is done", file=sys.stderr, flush=True)
    return results


def measure(names: list[str], options: argparse.Namespace) -> Result:
    """Return the content of the JSON file."""
    machine = describe_machine(options.threads)
    left_out: dict[str, str] = {}
    running: dict[str, Process] = {}
    try:
        start(names, options, running, left_out)
        results = take_turns(running, options.rounds, options.seconds)
        endings = {name: process.finish() for name, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
    return {
        "schema": 1,
        "date": date.today().isoformat(),
        "command": shlex.join(["python", "benchmarks/bench.py", *sys.argv[1:]]),
        "machine": machine,
        "seed": options.seed,
        "batch_size": 128,
        "megaflop_per_image": megaflop_per_image(),
        "rounds": options.rounds,
        "seconds_per_round": options.seconds,
        "reference": options.reference,
        "contestants": {
            name: {
                **{k: v for k, v in process.ready.items() if k != "ready"},
                "rounds": results[name],
                **endings[name],
            }
            for name, process in running.items()
        },
        "left_out": left_out,
    }


def rates(row: Result, key: str = "images_per_second") -> list[float]:
    """Return a contestant's figure in every round."""
    return [r[key] for r in row["rounds"]]


def spread(values: list[float], digits: int = 0) -> str:
    """Return ``median [lowest – highest]``."""
    low, high = min(values), max(values)
    middle = statistics.median(values)
    return f"{middle:,.{digits}f} [{low:,.{digits}f} – {high:,.{digits}f}]"


def paired_ratios(reference: Result, other: Result) -> list[float]:
    """Return how many times as fast the reference was, round by round."""
    return [a / b for a, b in zip(rates(reference), rates(other), strict=True)]


def limits_of(result: Result) -> dict[str, list[float]]:
    """Return the machine's limits in GFLOP/s, by precision and round."""
    rows = result["contestants"].values()
    return {r["precision"]: rates(r, "gflops") for r in rows if "gflops" in r["rounds"][0]}


def limit_share(row: Result, limits: list[float], megaflop: float) -> float:
    """Return the median share of the limit that a contestant reached, paired by round."""
    pairs = zip(rates(row), limits, strict=True)
    return statistics.median(rate * megaflop / 1e3 / limit for rate, limit in pairs)


def to_markdown(result: Result) -> str:
    """Return the table and what it depends on."""
    trained = {
        name: row
        for name, row in result["contestants"].items()
        if "images_per_second" in row["rounds"][0]
    }
    reference, limits = trained.get(result["reference"]), limits_of(result)
    megaflop = result["megaflop_per_image"]
    lines = [
        f"# Images learnt from in a second, {result['date']}",
        "",
        f"`{result['command']}` on {tell_machine(result['machine'])} "
        f"FashionCNN, batch {result['batch_size']}, Adam, {megaflop:.1f} MFLOP an image; "
        f"{result['rounds']} rounds of about {result['seconds_per_round']:g} s in turns: median "
        "[lowest – highest], ratios and shares paired by round.",
        "",
        f"| contestant | images per second | `{result['reference']}` is so many times as fast "
        "| share of the limit | peak memory | versions |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, row in trained.items():
        ratio = "" if reference is None else spread(paired_ratios(reference, row), 2)
        limit = limits.get(row["precision"])
        share = f"{limit_share(row, limit, megaflop):.0%}" if limit else ""
        used = ", ".join(f"{package} {version}" for package, version in row["versions"].items())
        lines.append(
            f"| {name}: {row['name']} | {spread(rates(row))} | {ratio} | {share} "
            f"| {row['peak_memory_bytes'] / 1e6:,.0f} MB | {used} |"
        )
    lines.append("")
    for precision, values in limits.items():
        lines.append(
            f"- The limit in {precision}: {spread(values)} GFLOP/s, "
            f"{statistics.median(values) * 1e3 / megaflop:,.0f} images per second."
        )
    if limits:
        lines.append(
            "- Shares count the arithmetic of the layers as they are written; kernels that get by "
            "with fewer multiplications (Winograd's) can come above 100%."
        )
    others = [r.get("other_cores") for row in trained.values() for r in row["rounds"]]
    told = [cores for cores in others if cores is not None]
    if told:
        lines.append(
            f"- Meanwhile other programs kept {spread(told, 2)} cores busy; figures count only "
            "where that is next to nothing."
        )
    lines += [f"- Left out: {name}, {why}." for name, why in result["left_out"].items()]
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=names_for("throughput"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of a contestant's round")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reference", default="ours", help="whom the others are compared with")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0 or options.threads < 1:
        parser.error("--rounds, --seconds and --threads should be above 0")
    official_data()
    names = [n for n in names_for("throughput") if not options.only or n in options.only]
    options.results.mkdir(parents=True, exist_ok=True)
    try:
        result = measure(names, options)
    except LeftOutError as reason:
        raise SystemExit(f"a contestant was lost on the way: {reason}") from None
    if not result["contestants"]:
        raise SystemExit("no contestant could take part")
    text = to_markdown(result)
    path = options.results / f"bench-{result['date']}.json"
    write_json(path, result)
    write_atomic(path.with_suffix(".md"), text.encode())
    print(text)


if __name__ == "__main__":
    main()
