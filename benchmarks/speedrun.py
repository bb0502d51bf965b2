"""How soon each way of learning Fashion-MNIST reaches which accuracy on the test part.

    python benchmarks/speedrun.py
    python benchmarks/speedrun.py --only ours-baseline keras --seeds 0 1 2
    python benchmarks/speedrun.py --only ours-baseline --again

One contestant after another, never two at once. Each finished part is kept in
``benchmarks/results/speedrun-<date>.json`` and not measured again, so that the whole can be had in
several calls; ``--date`` goes on with the file of another day. Table (``.md``) and image
(``docs/img/speedrun.png``) are drawn anew from all parts that are there.

Seconds are those of learning; setting up (imports, data, compiling) and judging are told apart.
The curves are drawn on the test part, to compare; nothing is chosen by them.
"""

from __future__ import annotations

import argparse
import io
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from contestants import (
    CONTESTANTS,
    HERE,
    Contestant,
    LeftOutError,
    check_processor,
    describe_machine,
    last_line,
    make_environment,
    names_for,
    official_data,
    tell_machine,
)
from fashioncnn.config import recipe_names
from fashioncnn.reporting.figures import SERIES_COLORS, STYLE
from fashioncnn.files import write_atomic, write_json
from fashioncnn.runs import read_json
from fashioncnn.runtime import available_cores

OURS = "ours-"
"""Before the name of a recipe of ours."""
RECIPES = ("fast93", "fast94", "fast95", "baseline")
"""Of ours, where none are named."""
SEEDS = {"ours-fast93": (0, 1, 2, 3, 4), "ours-fast94": (0, 1, 2), "ours-fast95": (0, 1, 2)}
"""Where none are named: the figure that is told of a recipe is the mean of several."""
THRESHOLDS = (0.88, 0.90, 0.91, 0.92, 0.93, 0.94, 0.95)
"""Accuracies whose times are told."""

Part = dict[str, Any]


def peer_epochs(contestant: Contestant, options: argparse.Namespace, seed: int) -> Part:
    """Run a peer, and return its epochs and how it was run."""
    if not options.only:
        check_processor(contestant)
    if contestant.requirements is not None:
        make_environment(contestant.requirements)
    command = contestant.command("accuracy", options.threads, seed)
    if options.epochs is not None:
        command += ["--epochs", str(options.epochs)]
    points = [json.loads(line) for line in run(command).splitlines()]
    setup_seconds = points[0].pop("setup_seconds")
    for point in points[1:]:
        del point["setup_seconds"]
    return {
        "command": shlex.join(["python", *(_from_here(word) for word in command[1:])]),
        "setup_seconds": setup_seconds,
        "points": points,
    }


def our_epochs(recipe: str, options: argparse.Namespace, seed: int) -> Part:
    """Run ``fashioncnn train``, and return its epochs and how it was run."""
    arguments = ["train", recipe, "--seed", str(seed), "--threads", str(options.threads)]
    arguments += ["--track-test", "--offline"]
    if options.epochs is not None:
        arguments += ["--epochs", str(options.epochs)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        began = time.time()
        run([sys.executable, "-m", "fashioncnn", *arguments, "--out", str(out)])
        # environment.json is written when all is built, just before the first step.
        setup_seconds = (out / "environment.json").stat().st_mtime - began
        environment = read_json(out / "environment.json")
        history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    points, train_seconds = [], 0.0
    for record in history:
        train_seconds += record["seconds"]
        points.append(
            {
                "epoch": record["epoch"],
                "train_seconds": train_seconds,
                "test_accuracy": record["test_accuracy"],
            }
        )
    return {
        "command": shlex.join(["fashioncnn", *arguments]),
        "environment": environment,
        "setup_seconds": setup_seconds,
        "points": points,
    }


def run(command: list[str]) -> str:
    """Return what a command prints; raise `LeftOutError` with its last line where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LeftOutError(f"ended with {done.returncode}: {last_line(done.stderr)}")
    return done.stdout


def measure(name: str, options: argparse.Namespace, seed: int) -> Part:
    """Return a finished part."""
    machine = describe_machine(options.threads)
    started = time.perf_counter()
    if name.startswith(OURS):
        part = our_epochs(name.removeprefix(OURS), options, seed)
    else:
        part = peer_epochs(CONTESTANTS[name], options, seed)
    return {
        "name": name,
        "seed": seed,
        "date": date.today().isoformat(),
        "machine": machine,
        "wall_seconds": time.perf_counter() - started,
        **part,
    }


def seconds_to(part: Part, accuracy: float) -> float | None:
    """Return the seconds of learning until the test accuracy was first reached."""
    reached = [p["train_seconds"] for p in part["points"] if p["test_accuracy"] >= accuracy]
    return min(reached, default=None)


def by_name(parts: dict[str, Part]) -> dict[str, list[Part]]:
    """Return the parts of every contestant, ours first and then by their last accuracy."""
    groups: dict[str, list[Part]] = {}
    for part in parts.values():
        groups.setdefault(part["name"], []).append(part)

    def rank(name: str) -> tuple[bool, float]:
        return not name.startswith(OURS), -_median_end(groups[name], "test_accuracy")

    return {name: groups[name] for name in sorted(groups, key=rank)}


def to_markdown(parts: dict[str, Part], title_date: str) -> str:
    """Return the table and what it depends on."""
    titles = " | ".join(f"s to {100 * accuracy:.0f}%" for accuracy in THRESHOLDS)
    lines = [
        f"# Test accuracy by seconds of learning, {title_date}",
        "",
        "Seconds are medians over n seeds, the last accuracy is mean ± standard deviation. Setting "
        "up and judging are not among the seconds. The time to an accuracy is that of the first "
        "epoch that reached it on the test part: a comparison, no choice. n of m: only n of m "
        "seeds ever reached it. Judging is that of the test part, once. Ours are the seconds of "
        "the steps, as the run's history tells them; whitening is counted as setting up.",
        "",
        f"| contestant | n | set-up, s | learning, s | judging, s | last accuracy | {titles} |",
        "| --- " + "| ---: " * (5 + len(THRESHOLDS)) + "|",
    ]
    for name, group in by_name(parts).items():
        setup = statistics.median(part["setup_seconds"] for part in group)
        cells = " | ".join(_time_cell(group, accuracy) for accuracy in THRESHOLDS)
        lines.append(
            f"| {name} | {len(group)} | {setup:.1f} | {_median_end(group, 'train_seconds'):.1f} "
            f"| {_judging_cell(group)} | {_accuracy_cell(group)} "
            f"| {cells} |"
        )
    lines.append("")
    for key, part in parts.items():
        machine = tell_machine(part["machine"])
        lines.append(f"- {key}, {part['date']}: `{part['command']}` on {machine}")
    return "\n".join([*lines, ""])


def draw(parts: dict[str, Part], path: Path) -> None:
    """Write accuracy against seconds, on a logarithmic axis, as a PNG."""
    groups = by_name(parts)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 4.8), layout="constrained")
        axes = figure.subplots()
        for (name, group), (colour, dashes) in zip(groups.items(), _looks(), strict=False):
            _draw_group(axes, name, group, colour, dashes)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("seconds of learning")
        machines = {
            f"{p['machine']['cpu']}, {p['machine']['threads']} threads" for p in parts.values()
        }
        axes.set_title("Accuracy on the test part, " + "; ".join(sorted(machines)))
        figure.legend(loc="outside right upper")
        buffer = io.BytesIO()
        figure.savefig(
            buffer, format="png", dpi=150, facecolor="white", metadata={"Software": None}
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())


def _draw_group(axes: Axes, name: str, group: list[Part], colour: str, dashes: str) -> None:
    ours = name.startswith(OURS)
    for index, part in enumerate(group):
        seconds = [point["train_seconds"] for point in part["points"]]
        accuracies = [point["test_accuracy"] for point in part["points"]]
        axes.plot(
            seconds,
            accuracies,
            dashes,
            color=colour,
            marker="o",
            markersize=4 if ours else 3,
            linewidth=2.2 if ours else 1.4,
            label=name if index == 0 else None,
            zorder=3 if ours else 2,
        )


def _looks() -> Iterator[tuple[str, str]]:
    """Yield colours, and the same again with other dashes."""
    for dashes in ("-", "--", ":", "-."):
        for colour in SERIES_COLORS:
            yield colour, dashes


def _time_cell(group: list[Part], accuracy: float) -> str:
    times = [t for t in (seconds_to(part, accuracy) for part in group) if t is not None]
    if not times:
        return "–"
    share = "" if len(times) == len(group) else f" ({len(times)} of {len(group)})"
    return f"{statistics.median(times):.1f}{share}"


def _accuracy_cell(group: list[Part]) -> str:
    ends = [100 * float(part["points"][-1]["test_accuracy"]) for part in group]
    spread = f" ± {statistics.stdev(ends):.2f}" if len(ends) > 1 else ""
    return f"{statistics.mean(ends):.2f}{spread}%"


def _judging_cell(group: list[Part]) -> str:
    """Return the seconds of judging once; our own history does not tell them."""
    ends = [part["points"][-1] for part in group]
    if "test_seconds" not in ends[0]:
        return ""
    # Each line of a peer that tells `images` is a model of its own, judged once.
    times = [end["test_seconds"] / (1 if "images" in end else end["epoch"]) for end in ends]
    return f"{statistics.median(times):.1f}"


def _median_end(group: list[Part], key: str) -> float:
    return statistics.median(float(part["points"][-1][key]) for part in group)


def _from_here(word: str) -> str:
    root = f"{HERE.parent}/"
    return word.removeprefix(root)


def choose_names(only: list[str] | None) -> list[str]:
    """Return the contestants to run; exit with their names where one is unknown."""
    known = [*(OURS + recipe for recipe in recipe_names()), *names_for("accuracy")]
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        raise SystemExit(f"--only {unknown[0]}: should be one of {', '.join(known)}")
    return only or [*(OURS + recipe for recipe in RECIPES), *names_for("accuracy")]


def part_key(name: str, seed: int, options: argparse.Namespace) -> str:
    """Return the name of a part; one that is not run as usual is another part."""
    words = [name, f"seed{seed}"]
    if options.epochs is not None:
        words.append(f"{options.epochs}epochs")
    if options.threads != available_cores():
        words.append(f"{options.threads}threads")
    return "/".join(words)


def main() -> None:
    """Measure what is missing; draw what is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="ours-<recipe>, or a peer")
    parser.add_argument("--again", action="store_true", help="measure those that are there, too")
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="default: 0; several for our fast recipes"
    )
    parser.add_argument("--epochs", type=int, help="of each; default: the recipe's, 20 for peers")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument(
        "--date", default=date.today().isoformat(), help="of the file to go on with"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--image", type=Path, default=HERE.parent / "docs/img/speedrun.png")
    options = parser.parse_args()
    official_data()
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"speedrun-{options.date}.json"
    parts: dict[str, Part] = read_json(path)["parts"] if path.exists() else {}
    for name in choose_names(options.only):
        for seed in options.seeds or SEEDS.get(name, (0,)):
            key = part_key(name, seed, options)
            if key in parts and not options.again:
                continue
            print(f"{key} …", file=sys.stderr, flush=True)
            try:
                parts[key] = measure(name, options, seed)
            except LeftOutError as reason:
                print(f"{key} is left out: {reason}", file=sys.stderr, flush=True)
                continue
            write_json(path, {"schema": 1, "parts": parts})
    if not parts:
        raise SystemExit("nothing was measured")
    text = to_markdown(parts, options.date)
    write_atomic(path.with_suffix(".md"), text.encode())
    draw(parts, options.image)
    print(text)


if __name__ == "__main__":
    main()
