"""Measure the trials per hour of `fashioncnn tune`, and its overhead per trial.

    python benchmarks/tuning_overhead.py
    python benchmarks/tuning_overhead.py --data sketches    a quick check, not recorded

Trials per hour are those of `baseline` with one and two parallel jobs. The overhead is measured
with a tiny network, since it does not depend on the network. With the official files it writes
``benchmarks/results/tuning/overhead.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from common import (
    RESULTS,
    Result,
    make_parser,
    measurement_context,
    run_fashioncnn,
    use_shared_data,
    write_result,
)
from tables import markdown_table

JOBS = (1, 2)
OVERHEAD_TRIALS, OVERHEAD_EPOCHS = 60, 10
TINY_NETWORK = ("model.channels=[4, 8]", "model.hidden=16", "runtime.threads=1")
LONG_TRIAL = 60.0
"""Seconds of a trial to which the overhead is compared."""


def measure(options: argparse.Namespace, folder: Path) -> Result:
    """Run the searches in `folder` and return trials per hour and overhead."""
    rates = {}
    for jobs in JOBS:
        out = folder / str(jobs)
        command = ["tune", "baseline", f"--out={out}", "--space=regularization", "--sampler=random"]
        command += [f"--jobs={jobs}", f"--epochs={options.epochs}", f"--trials={options.trials}"]
        run_fashioncnn(*command, *([f"--data={options.data}"] if options.data else []))
        rates[jobs] = trials_per_hour(out)
    out = folder / "overhead"
    command = ["tune", "baseline", f"--out={out}", "--data=sketches", f"--epochs={OVERHEAD_EPOCHS}"]
    settings = [f"--set={assignment}" for assignment in TINY_NETWORK]
    run_fashioncnn(*command, f"--trials={OVERHEAD_TRIALS}", *settings)
    overheads = overhead_seconds(out)
    return {
        **measurement_context(),
        "data": options.data or "fashion-mnist",
        "trials": options.trials,
        "epochs": options.epochs,
        "trials_per_hour": rates,
        "overhead_trials": len(overheads),
        "overhead_seconds_median": statistics.median(overheads),
        "overhead_seconds_highest": max(overheads),
    }


def to_markdown(result: Result) -> str:
    """Return the table of trials per hour and overhead."""
    median, highest = result["overhead_seconds_median"], result["overhead_seconds_highest"]
    n, overheads = str(result["trials"]), str(result["overhead_trials"])
    rows = [
        (f"trials of {result['epochs']} epochs per hour, {jobs} in parallel", f"{rate:,.0f}", n)
        for jobs, rate in result["trials_per_hour"].items()
    ]
    relative = f"{median / LONG_TRIAL:.2%} ({highest / LONG_TRIAL:.2%})"
    rows += [
        ("overhead per trial, median (maximum)", f"{median:.3f} s ({highest:.3f} s)", overheads),
        (f"as a fraction of a trial of {LONG_TRIAL:.0f} s", relative, overheads),
    ]
    return markdown_table(("measurement", "value", "n"), rows)


def trials_per_hour(folder: Path) -> float:
    """Return the rate from the start of the first trial's training to the end of the last one."""
    trials = completed_trials(folder)
    started = min(end - seconds for end, seconds in trials)
    return 3600 * len(trials) / (max(end for end, _ in trials) - started)


def overhead_seconds(folder: Path) -> list[float]:
    """Return the time between consecutive trials of a search with one job, without training.

    It is the time from the end of a trial to the end of the next one, minus the seconds that its
    worker trained: sampling, pruning, writing the journal, communication between processes.
    """
    pairs = itertools.pairwise(sorted(completed_trials(folder)))
    return [later - earlier - trained for (earlier, _), (later, trained) in pairs]


def completed_trials(folder: Path) -> list[tuple[float, float]]:
    """Return end and seconds of training of every completed trial."""
    ends, seconds = end_times(folder), training_seconds(folder)
    return [(ends[trial], seconds[trial]) for trial in ends.keys() & seconds.keys()]


def training_seconds(folder: Path) -> dict[int, float]:
    """Return the seconds of training by trial; empty if there is no search in `folder`."""
    return {
        entry["trial_id"]: float(entry["user_attr"]["seconds"])
        for entry in read_journal(folder)
        if "seconds" in entry.get("user_attr", {})
    }


def end_times(folder: Path) -> dict[int, float]:
    """Return the end of each completed trial, in seconds since 1970."""
    return {
        entry["trial_id"]: datetime.fromisoformat(entry["datetime_complete"]).timestamp()
        for entry in read_journal(folder)
        if entry.get("datetime_complete")
    }


def read_journal(folder: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a search's journal; empty if there is none."""
    path = folder / "journal.log"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def main() -> None:
    """Measure, record, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--data", default="", help="default: the official files")
    options = parser.parse_args()
    use_shared_data()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, Path(folder))
    if not options.data:
        write_result(RESULTS / "tuning" / "overhead.json", result)
    print(to_markdown(result))


if __name__ == "__main__":
    main()
