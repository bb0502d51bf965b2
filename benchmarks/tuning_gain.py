"""Does tuning pay? TPE against random search on the same budget, and both against no search.

    python benchmarks/tune.py                          searches, then trains seeds: hours
    python benchmarks/tune.py --minutes 60 --jobs 2 --epochs 20
    python benchmarks/tune.py --table                  the table of docs/RESULTS.md, runs nothing
    python benchmarks/tune.py --speed                  trials per hour with 1 and 2 jobs, overhead

Each search has the same time, cores, space and epochs a trial, and is judged on 10,000 held-out
training images. Trials have the epochs of the described training, so that nothing but the
hyper-parameters differs. The best recipe then trains on all 60,000 with every seed, as the
described hyper-parameters do, and the test part is read once, after (`seeds.run_seed`). Stopped at
any moment it goes on where it was: a search has what is left of its time, and a seed its
checkpoint. There is one search of each kind, and both begin with the described values: what the
intervals tell is how the recipes that came out differ, not how searches do.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from datetime import date, datetime
from pathlib import Path
from typing import Any

from seeds import RESULTS, mean_sd, read_results, run_seed, use_shared_data

FOLDER = RESULTS / "tune"
SEARCHES = Path("runs") / "tune-bench"
SAMPLERS = ("tpe", "random")
DESCRIBED = "described"
OVERHEAD_TRIALS = 60
SMALL = ("model.channels=[4, 8]", "model.hidden=16", "runtime.threads=1")
"""A network for measuring the overhead, which does not depend on what is trained."""
LONG_TRIAL = 60.0
"""Seconds of a trial that the overhead is given as a share of."""


def search(sampler: str, options: argparse.Namespace) -> None:
    """Search for the rest of the time, and write down what came out, unless that is there."""
    result = FOLDER / f"{sampler}.json"
    budget = {name: getattr(options, name) for name in ("minutes", "jobs", "space", "precision")}
    asked = {**budget, "seed": options.seed, "epochs": options.epochs}
    if result.exists():
        found = json.loads(result.read_text())
        if any(found[name] != value for name, value in asked.items()):
            raise SystemExit(f"{result}: of another search than {asked}; move it away")
        return
    out = SEARCHES / sampler
    left = 60 * options.minutes - spent_seconds(out) / options.jobs
    document = tune(
        "baseline", f"runtime.precision={options.precision}", out=out, sampler=sampler,
        seed=options.seed, space=options.space, jobs=options.jobs, epochs=options.epochs,
        timeout=f"{max(left, 1):.0f}s",
    )  # fmt: skip
    told = {key: document[key] for key in ("sampler", "seed", "epochs", "best", "importances")}
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{sampler}.toml").write_bytes((out / "best.toml").read_bytes())
    content = {**told, **budget, "date": str(date.today()), "trials": document["trials"]}
    result.write_text(json.dumps(content, indent=1) + "\n")


def spent_seconds(folder: Path) -> float:
    """Return what the trials of a search have taken so far, together."""
    return sum(float(e["user_attr"]["seconds"]) for e in journal(folder) if _has(e, "seconds"))


def journal(folder: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a search's journal; none where there is no search."""
    path = folder / "journal.log"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def tune(recipe: str, *settings: str, out: Path, **flags: Any) -> dict[str, Any]:
    """Run ``fashioncnn tune`` and return what it says."""
    command = [sys.executable, "-m", "fashioncnn", "tune", recipe, "--out", str(out), "--json"]
    command += [f"--set={assignment}" for assignment in settings]
    command += [f"--{name}={value}" for name, value in flags.items()]
    document: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    )
    return document


def train_seeds(seeds: list[int], jobs: int, precision: str) -> None:
    """Train the described recipe and both winners with every seed on all images."""
    alike = ["training.track_test=false", "data.validation=0", f"runtime.precision={precision}"]
    recipes = {DESCRIBED: "baseline", **{s: str(FOLDER / f"{s}.toml") for s in SAMPLERS}}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        runs = [
            pool.submit(
                run_seed, FOLDER / name / f"seed{seed}.json", recipe, seed, alike, 1,
                test=True, flip=False,
            )
            for seed in seeds
            for name, recipe in recipes.items()
        ]  # fmt: skip
        for run in runs:
            run.result()


def print_table() -> None:
    """Print the table: means over seeds, differences with Welch's 95% intervals."""
    groups = {name: read_results(FOLDER / name) for name in (DESCRIBED, *SAMPLERS)}
    few = [name for name, results in groups.items() if len(results) < 2]
    if few:
        raise SystemExit(f"{', '.join(few)}: the table needs at least two seeds of each")
    print("| hyper-parameters | trials | validation loss of the best | n | test accuracy | gain "
          "[95% interval], points | test loss | difference [95% interval] |")  # fmt: skip
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, results in groups.items():
        accuracy, loss = figures(results, "accuracy", 100), figures(results, "loss", 1)
        cells = [name, *_searched(name), str(len(results)), f"{mean_sd(accuracy, 1, 2)}%"]
        cells += [_difference(accuracy, figures(groups[DESCRIBED], "accuracy", 100), 2)]
        cells += [mean_sd(loss), _difference(loss, figures(groups[DESCRIBED], "loss", 1), 4)]
        print(f"| {' | '.join(cells)} |")
    tpe, random = (figures(groups[name], "accuracy", 100) for name in SAMPLERS)
    difference = _difference(tpe, random, 2) or "0, the same recipe came out"
    print(f"\nThe recipe by TPE less that by random search, test accuracy: {difference}.")


def figures(results: list[dict[str, Any]], name: str, scale: float) -> list[float]:
    """Return one figure of the test part by seed."""
    return [scale * result["test"][name] for result in results]


def measure_speed(options: argparse.Namespace) -> None:
    """Measure trials per hour with 1 and 2 jobs, and what the search costs a trial."""
    from fashioncnn.runtime import cpu_name

    rates = {}
    with tempfile.TemporaryDirectory() as place:
        for jobs in (1, 2):
            out = Path(place) / str(jobs)
            tune(
                "baseline", out=out, space="regularisation", sampler="random", jobs=jobs,
                epochs=options.speed_epochs, trials=options.speed_trials, data=options.data,
            )  # fmt: skip
            rates[jobs] = trials_per_hour(out)
        out = Path(place) / "overhead"
        tune("baseline", *SMALL, out=out, epochs=10, trials=OVERHEAD_TRIALS, data="sketches")
        overheads = overhead_seconds(out)
    content = {
        "date": str(date.today()),
        "cpu": cpu_name(),
        "data": options.data or "fashion-mnist",
        "trials": options.speed_trials,
        "epochs": options.speed_epochs,
        "trials_per_hour": rates,
        "overhead_trials": len(overheads),
        "overhead_seconds_median": statistics.median(overheads),
        "overhead_seconds_highest": max(overheads),
    }
    if not options.data:  # elsewhere it is a trial of this script
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "speed.json").write_text(json.dumps(content, indent=1) + "\n")
    print("| what | figure | n |\n| --- | ---: | ---: |")
    for jobs, rate in rates.items():
        print(f"| trials of {options.speed_epochs} epochs an hour, {jobs} at once | {rate:,.0f} "
              f"| {options.speed_trials} |")  # fmt: skip
    middle, highest = content["overhead_seconds_median"], content["overhead_seconds_highest"]
    print(f"| overhead a trial, median (highest) | {middle:.3f} s ({highest:.3f} s) "
          f"| {len(overheads)} |")  # fmt: skip
    print(f"| the same as a share of {LONG_TRIAL:.0f} s | {middle / LONG_TRIAL:.2%} "
          f"({highest / LONG_TRIAL:.2%}) | |")  # fmt: skip


def trials_per_hour(folder: Path) -> float:
    """Return the rate from when the first trial began to learn until the last one had ended."""
    trials = moments(folder)
    began = min(end - seconds for end, seconds in trials)
    return 3600 * len(trials) / (max(end for end, _ in trials) - began)


def overhead_seconds(folder: Path) -> list[float]:
    """Return, of a search with one job, what passed from trial to trial without training.

    From the end of one trial to that of the next, less what the worker took from being told the
    values to knowing the loss, without what it waited for answers: asking, telling, deciding who is
    pruned, flushing the journal, talking through the pipe.
    """
    pairs = itertools.pairwise(sorted(moments(folder)))
    return [later - earlier - seconds for (earlier, _), (later, seconds) in pairs]


def moments(folder: Path) -> list[tuple[float, float]]:
    """Return end (seconds since 1970) and seconds of training of every ended trial."""
    ends, seconds = {}, {}
    for entry in journal(folder):
        if entry.get("datetime_complete"):
            ends[entry["trial_id"]] = datetime.fromisoformat(entry["datetime_complete"]).timestamp()
        elif _has(entry, "seconds"):
            seconds[entry["trial_id"]] = entry["user_attr"]["seconds"]
    return [(ends[trial], seconds[trial]) for trial in seconds]


def _has(entry: dict[str, Any], attribute: str) -> bool:
    return attribute in entry.get("user_attr", {})


def _searched(name: str) -> list[str]:
    if name == DESCRIBED:
        return ["", ""]
    content = json.loads((FOLDER / f"{name}.json").read_text())
    ended = sum(t["state"] in ("complete", "pruned", "failed") for t in content["trials"])
    return [str(ended), f"{content['best']['loss']:.4f}"]


def _difference(values: list[float], others: list[float], digits: int) -> str:
    """Return the difference of two means with Welch's 95% interval."""
    from scipy import stats

    if values is others or values == others:
        return ""
    low, high = stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
    middle = statistics.fmean(values) - statistics.fmean(others)
    return f"{middle:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def main() -> None:
    """Run what is missing and print the table, or measure the speed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60, help="of each search")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=20, help="of each trial and each winner")
    parser.add_argument("--space", default="fashion_cnn-adam")
    parser.add_argument("--precision", default="auto", help="of all: bf16 where the CPU has it")
    parser.add_argument("--seed", type=int, default=0, help="of both searches")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    parser.add_argument("--speed", action="store_true", help="measure the search itself")
    parser.add_argument("--speed-trials", type=int, default=8)
    parser.add_argument("--speed-epochs", type=int, default=1)
    parser.add_argument("--data", default="", help="of --speed; default: the official files")
    options = parser.parse_args()
    use_shared_data()
    if options.speed:
        measure_speed(options)
        return
    if not options.table:
        for sampler in SAMPLERS:
            search(sampler, options)
        train_seeds(options.seeds, options.jobs, options.precision)
    print_table()


if __name__ == "__main__":
    main()
