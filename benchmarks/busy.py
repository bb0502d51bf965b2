"""Measure whether several threads tolerate other busy processes.

    python benchmarks/busy.py                         about 25 minutes; with bf16, 45
    python benchmarks/busy.py --quick                 two minutes: fast93 in fp32
    python benchmarks/busy.py --load 0 2 --trials 3 --recipes accurate

Compares all threads with one thread, interleaved in the same process, while 0, 1, 2 and 4
compute-bound processes run, which the benchmark starts itself. Each trial is a process of its own
(`busy_trial.py`); bf16 is measured if the processor has instructions for it. On the otherwise idle
machine the same is measured with libgomp's own limit of spinning, to see what a lower limit costs.
Prints a Markdown table; a run of everything writes ``benchmarks/results/busy.json``. The load
average at the start is recorded: it should be near 0. A call that is interrupted keeps its finished
trials in ``runs/unfinished``, where the next one with the same options continues.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from common import (
    BENCHMARKS,
    RESULTS,
    Measurements,
    Result,
    last_line,
    make_parser,
    write_result,
)
from fashioncnn.devices import has_bf16
from fashioncnn.environment import available_cores
from tables import markdown_table

RECIPES = ("baseline", "fast93", "accurate")
PRECISIONS = ("fp32", "bf16")
ACTIVITIES = ("training", "prediction")
LOADS = (0, 1, 2, 4)
TRIALS = 8
SECONDS = 2.0
LIBGOMP_SPIN_COUNT = "300000"
"""Iterations for which libgomp spins by default before it sleeps (``GOMP_SPINCOUNT`` in its
manual)."""
MEDIAN_TARGET, WORST_TARGET, IDLE_TARGET = 0.95, 0.75, 0.97


@dataclass(frozen=True)
class Trial:
    """A process that measures one recipe in one precision.

    Attributes:
        recipe: name of a bundled recipe.
        precision: ``fp32`` or ``bf16``.
        number: counted from 1.
        load_average: of the machine before it started, over a minute.
        rates: images per second by activity, busy processes and threads.
        default_spinning: the same without busy processes, with libgomp's own limit of spinning.
    """

    recipe: str
    precision: str
    number: int
    load_average: float
    rates: Result
    default_spinning: Result


def run_trial(
    recipe: str,
    precision: str,
    number: int,
    loads: Sequence[int],
    seconds: float,
    spin_count: str | None = None,
) -> Trial:
    """Run and return one trial, with another limit of spinning than the package's if given."""
    load_average = os.getloadavg()[0]
    if number % 2 == 0:  # in turns: the second process of a trial may be faster, or slower
        default = _measure(recipe, precision, [0], seconds, LIBGOMP_SPIN_COUNT)
    rates = _measure(recipe, precision, loads, seconds, spin_count)
    if number % 2 == 1:
        default = _measure(recipe, precision, [0], seconds, LIBGOMP_SPIN_COUNT)
    return Trial(recipe, precision, number, load_average, rates, default)


def _values(run: Callable[[], Trial]) -> Result:
    """Return a trial as JSON types."""
    return vars(run())


def _measure(
    recipe: str,
    precision: str,
    loads: Sequence[int],
    seconds: float,
    spin_count: str | None,
) -> Result:
    script = str(BENCHMARKS / "busy_trial.py")
    options = ["--seconds", str(seconds), "--load", *map(str, loads)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP_", "OMP_"))}
    if spin_count is not None:
        environment["GOMP_SPINCOUNT"] = spin_count
    command = [sys.executable, script, recipe, precision, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{recipe}, {precision}: {last_line(done.stderr)}")
    rates: Result = json.loads(last_line(done.stdout))
    return rates


def thread_ratios(trials: Sequence[Trial], activity: str, load: int) -> list[float]:
    """Return the rate of all threads divided by that of one, of each trial."""
    rates = [trial.rates[activity][str(load)] for trial in trials]
    return [all_threads(rate) / rate["1"] for rate in rates]


def idle_ratios(trials: Sequence[Trial], activity: str) -> list[float]:
    """Return the idle rate of all threads divided by that with libgomp's own limit."""
    pairs = [(t.rates[activity]["0"], t.default_spinning[activity]["0"]) for t in trials]
    return [all_threads(limited) / all_threads(default) for limited, default in pairs]


def all_threads(rates: dict[str, float]) -> float:
    """Return the rate of the largest number of threads."""
    return rates[max(rates, key=int)]


def make_table(trials: Sequence[Trial], loads: Sequence[int]) -> str:
    """Return the ratios as ``median [worst]``; those that miss a target in bold."""
    titles = ["recipe", "precision", "activity", *(f"{load} busy" for load in loads)]
    rows = []
    for recipe, precision, group in _groups(trials):
        for activity in ACTIVITIES:
            cells = [
                _cell(thread_ratios(group, activity, load), MEDIAN_TARGET, WORST_TARGET)
                for load in loads
            ]
            if 0 in loads:
                cells.append(_cell(idle_ratios(group, activity), IDLE_TARGET, 0.0))
            rows.append([f"`{recipe}`", precision, activity, *cells])
    titles += ["idle, of libgomp's spinning"] * (0 in loads)
    return markdown_table(titles, rows, left=(0, 1, 2))


def _groups(trials: Sequence[Trial]) -> Iterator[tuple[str, str, list[Trial]]]:
    keys = dict.fromkeys((trial.recipe, trial.precision) for trial in trials)
    for recipe, precision in keys:
        group = [t for t in trials if (t.recipe, t.precision) == (recipe, precision)]
        yield recipe, precision, group


def _cell(ratios: Sequence[float], median_target: float, worst_target: float) -> str:
    median, worst = statistics.median(ratios), min(ratios)
    text = f"{median:.2f} [{worst:.2f}]"
    return text if median >= median_target and worst >= worst_target else f"**{text}**"


def main() -> None:
    """Run the trials, interleaved, and print the table."""
    parser = make_parser(__doc__)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    precisions = PRECISIONS if has_bf16(torch.device("cpu")) else PRECISIONS[:1]
    parser.add_argument("--precisions", nargs="+", default=list(precisions), choices=PRECISIONS)
    parser.add_argument("--load", nargs="+", type=int, default=list(LOADS), help="busy processes")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="per measurement")
    parser.add_argument("--spin-count", help="GOMP_SPINCOUNT; default: the package's")
    parser.add_argument("--quick", action="store_true", help="fast93, fp32, 2 trials, 1 second")
    args = parser.parse_args()
    if args.quick:
        args.recipes, args.precisions, args.trials, args.seconds = ["fast93"], ["fp32"], 2, 1.0
    if available_cores() == 1:
        parser.error("one core: there are no threads to compare")
    complete = vars(args) == vars(parser.parse_args([]))
    options = {"load": args.load, "seconds": args.seconds, "spin_count": args.spin_count}
    measurements = Measurements("busy", trials=args.trials, **options)
    load = measurements.started["load_average"][0]
    print(f"load average at the start: {load:.1f}", file=sys.stderr)
    trials = []
    for number in range(1, args.trials + 1):
        for recipe, precision in itertools.product(args.recipes, args.precisions):
            trial = partial(
                run_trial, recipe, precision, number, args.load, args.seconds, args.spin_count
            )
            key = f"trial {number}/{args.trials}: {recipe}, {precision}"
            trials.append(Trial(**measurements.measure(key, partial(_values, trial))))
    print(make_table(trials, args.load))
    if complete:
        recorded = {"seconds": args.seconds, "trials": [vars(trial) for trial in trials]}
        write_result(RESULTS / "busy.json", {**measurements.started, **recorded})
    measurements.finish()


if __name__ == "__main__":
    main()
