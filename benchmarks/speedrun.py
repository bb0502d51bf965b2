"""Measure the training time that each implementation needs to reach a test accuracy.

    python benchmarks/speedrun.py
    python benchmarks/speedrun.py --only ours-baseline keras --seeds 0 1 2
    python benchmarks/speedrun.py --only ours-baseline --again
    python benchmarks/speedrun.py --date 2026-11-23 --table

Implementations run one after another. Each finished run is recorded in
``benchmarks/results/speedrun-<date>.json`` and not repeated, so that the whole can be split into
several calls; ``--date`` continues the file of another day. Table (``.md``) and figure
(``docs/img/speedrun.png``) are rewritten from all recorded runs.

Training, set-up (imports, data, compilation) and evaluation are timed separately. The test curves
serve to compare speed; nothing is selected by them.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from common import (
    RESULTS,
    ROOT,
    Result,
    last_line,
    make_parser,
    read_result,
    require_official_data,
    write_result,
)
from fashioncnn.config import recipe_names
from fashioncnn.environment import available_cores
from fashioncnn.files import write_atomic
from implementations import IMPLEMENTATIONS, SkippedError, describe_machine, names_for
from speedrun_report import OURS, draw_figure, to_markdown

RECIPES = ("fast93", "fast94", "fast95", "baseline")
"""Recipes of this package that are measured by default."""
SEEDS = {"ours-fast93": (0, 1, 2, 3, 4), "ours-fast94": (0, 1, 2), "ours-fast95": (0, 1, 2)}
"""Seeds by default, of implementations with more than seed 0."""


def run_peer(name: str, options: argparse.Namespace, seed: int) -> Result:
    """Run an implementation of ``benchmarks/peers`` and return its epochs and command."""
    implementation = IMPLEMENTATIONS[name]
    if not options.only:
        implementation.check_processor()
    implementation.prepare()
    command = implementation.command("accuracy", options.threads, seed)
    if options.epochs is not None:
        command += ["--epochs", str(options.epochs)]
    points = [json.loads(line) for line in run_command(command).splitlines()]
    setup_seconds = points[0]["setup_seconds"]
    for point in points:
        del point["setup_seconds"]
    arguments = (word.removeprefix(f"{ROOT}/") for word in command[1:])
    return {
        "command": shlex.join(["python", *arguments]),
        "setup_seconds": setup_seconds,
        "points": points,
    }


def run_ours(recipe: str, options: argparse.Namespace, seed: int) -> Result:
    """Run ``fashioncnn train`` and return its epochs and command."""
    arguments = ["train", recipe, "--seed", str(seed), "--threads", str(options.threads)]
    arguments += ["--track-test", "--offline"]
    if options.epochs is not None:
        arguments += ["--epochs", str(options.epochs)]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        started = time.time()
        run_command([sys.executable, "-m", "fashioncnn", *arguments, "--out", str(run)])
        # environment.json is written after the set-up, just before the first step.
        setup_seconds = (run / "environment.json").stat().st_mtime - started
        environment = json.loads((run / "environment.json").read_text())
        history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return {
        "command": shlex.join(["fashioncnn", *arguments]),
        "environment": environment,
        "setup_seconds": setup_seconds,
        "points": points_of(history),
    }


def points_of(history: list[Result]) -> list[Result]:
    """Return cumulative training time and test accuracy by epoch."""
    points, seconds = [], 0.0
    for record in history:
        seconds += record["seconds"]
        accuracy = record["test_accuracy"]
        points.append(
            {"epoch": record["epoch"], "train_seconds": seconds, "test_accuracy": accuracy}
        )
    return points


def run_command(command: list[str]) -> str:
    """Return the stdout of a command; raise `SkippedError` if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SkippedError(f"exit status {done.returncode}: {last_line(done.stderr)}")
    return done.stdout


def measure(name: str, options: argparse.Namespace, seed: int) -> Result:
    """Return one finished run."""
    machine = describe_machine(options.threads)
    started = time.perf_counter()
    if name.startswith(OURS):
        run = run_ours(name.removeprefix(OURS), options, seed)
    else:
        run = run_peer(name, options, seed)
    return {
        "name": name,
        "seed": seed,
        "date": date.today().isoformat(),
        "machine": machine,
        "wall_seconds": time.perf_counter() - started,
        **run,
    }


def measure_missing(path: Path, runs: dict[str, Result], options: argparse.Namespace) -> None:
    """Add the runs that are not recorded to `runs` and to the file at `path`."""
    for name in choose_names(options.only):
        for seed in options.seeds or SEEDS.get(name, (0,)):
            key = run_key(name, seed, options)
            if key in runs and not options.again:
                continue
            print(f"{key} …", file=sys.stderr, flush=True)
            try:
                runs[key] = measure(name, options, seed)
            except SkippedError as reason:
                print(f"{key}: skipped: {reason}", file=sys.stderr, flush=True)
                continue
            write_result(path, {"runs": runs})


def choose_names(only: list[str] | None) -> list[str]:
    """Return the implementations to run; exit with the known names if one is unknown."""
    known = [*(OURS + recipe for recipe in recipe_names()), *names_for("accuracy")]
    unknown = sorted(set(only or ()) - set(known))
    if unknown:
        raise SystemExit(f"--only {unknown[0]}: must be one of {', '.join(known)}")
    return only or [*(OURS + recipe for recipe in RECIPES), *names_for("accuracy")]


def run_key(name: str, seed: int, options: argparse.Namespace) -> str:
    """Return the key of a run; it contains the number of epochs and threads if not the default."""
    words = [name, f"seed{seed}"]
    if options.epochs is not None:
        words.append(f"{options.epochs}epochs")
    if options.threads != available_cores():
        words.append(f"{options.threads}threads")
    return "/".join(words)


def main() -> None:
    """Measure runs that are not recorded; rewrite table and figure."""
    today = date.today().isoformat()
    parser = make_parser(__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="ours-<recipe>, or a peer")
    parser.add_argument("--again", action="store_true", help="repeat recorded runs")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0; more for fast recipes")
    parser.add_argument("--epochs", type=int, help="default: those of the recipe, 20 for peers")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--date", default=today, help="of the file to continue")
    parser.add_argument(
        "--table", action="store_true", help="rewrite table and figure, run nothing"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    parser.add_argument("--image", type=Path, default=ROOT / "docs/img/speedrun.png")
    options = parser.parse_args()
    path = options.results / f"speedrun-{options.date}.json"
    runs: dict[str, Result] = read_result(path)["runs"] if path.exists() else {}
    if not options.table:
        require_official_data()
        measure_missing(path, runs, options)
    if not runs:
        raise SystemExit(f"{path}: no runs to show")
    text = to_markdown(runs, options.date)
    write_atomic(path.with_suffix(".md"), text.encode())
    draw_figure(runs, options.image)
    print(text)


if __name__ == "__main__":
    main()
