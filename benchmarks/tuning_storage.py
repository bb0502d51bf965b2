"""Measure `fashioncnn tune` on the journal and on PostgreSQL: trials per hour and overhead.

    python benchmarks/tuning_storage.py
    python benchmarks/tuning_storage.py --repeats 1 --trials 3    a quick check, not recorded

One and two workers: processes of one search on the journal, two searches with one worker each on
PostgreSQL, as on two machines. The server is a temporary one on this machine; each worker has one
thread. The overhead is the time between the trials of one worker that does not train, plus that of
calibrating the validation loss after each epoch. It writes
``benchmarks/results/tuning/storage.json``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from common import RESULTS, ROOT, Result, make_parser, measurement_context, write_result
from tables import markdown_table
from tuning_overhead import LONG_TRIAL, completed_trials

sys.path.insert(0, str(ROOT))
from tests.postgres import PASSWORD, Server, running_server

WORKERS = (1, 2)
EPOCHS, CALIBRATED_IMAGES = 10, 10_000
OVERHEAD_TRIALS = 30
HISTORY, DRAWS = 1000, 20
TINY_NETWORK = ("model.channels=[4, 8]", "model.hidden=16")
FINISHED = """
SELECT extract(epoch FROM t.datetime_complete), a.value_json::float FROM trials t
JOIN trial_user_attributes a ON a.trial_id = t.trial_id AND a.key = 'seconds'
WHERE t.state = 'COMPLETE'
"""
Ends = list[tuple[float, float]]
"""End in seconds since 1970, and seconds of training, of each complete trial."""


def measure(options: argparse.Namespace, server: Server) -> Result:
    """Return trials per hour, overhead per trial and time to draw a trial."""
    rates: dict[str, dict[int, list[float]]] = {"journal": {}, "postgresql": {}}
    for workers, _ in itertools.product(WORKERS, range(options.repeats)):
        arguments = [f"--trials={options.trials}", f"--epochs={options.epochs}"]
        for storage, of_workers in rates.items():
            with search_folder() as folder:
                ends = search(storage, server, folder, workers, *arguments)
            of_workers.setdefault(workers, []).append(trials_per_hour(ends))
    tiny = [f"--set={value}" for value in TINY_NETWORK]
    overheads = {}
    for storage in rates:
        with search_folder() as folder:
            arguments = [f"--trials={OVERHEAD_TRIALS}", f"--epochs={EPOCHS}", *tiny]
            overheads[storage] = overhead_seconds(search(storage, server, folder, 1, *arguments))
    calibration = calibration_seconds()
    draws = draw_seconds(server)
    return {
        **measurement_context(),
        "data": "sketches",
        "trials": options.trials,
        "epochs": options.epochs,
        "trials_per_hour": rates,
        "overhead_seconds": overheads,
        "overhead_epochs": EPOCHS,
        "calibration_seconds": calibration,
        "calibrated_images": CALIBRATED_IMAGES,
        "draw_seconds": draws,
        "draw_history": HISTORY,
        "load_average": os.getloadavg()[0],
    }


def to_markdown(result: Result) -> str:
    """Return the table of rates and overheads: median and range."""
    rows = [
        (f"trials per hour, {storage}, {workers} at a time", *spread(values, ",.0f"))
        for storage, of_workers in result["trials_per_hour"].items()
        for workers, values in of_workers.items()
    ]
    calibration = statistics.median(result["calibration_seconds"])
    for storage, seconds in result["overhead_seconds"].items():
        total = statistics.median(seconds) + (EPOCHS + 1) * calibration
        rows.append((f"overhead per trial in s, {storage}", *spread(seconds, ".3f")))
        name = f"with calibration, as a fraction of {LONG_TRIAL:.0f} s, {storage}"
        rows.append((name, f"{total / LONG_TRIAL:.2%}", str(len(seconds))))
    name = f"calibration of {CALIBRATED_IMAGES:,} images in s"
    rows.append((name, *spread(result["calibration_seconds"], ".3f")))
    name = f"draw of a trial after {HISTORY:,} others in s, postgresql"
    rows.append((name, *spread(result["draw_seconds"], ".3f")))
    return markdown_table(("measurement", "median (range)", "n"), rows)


def spread(values: list[float], style: str) -> tuple[str, str]:
    """Return median and range as text, and the number of values."""
    low, middle, high = (f(values) for f in (min, statistics.median, max))
    return f"{middle:{style}} ({low:{style}}–{high:{style}})", str(len(values))


def search(storage: str, server: Server, folder: Path, workers: int, *arguments: str) -> Ends:
    """Run one search with several workers, and return its complete trials."""
    command = [sys.executable, "-m", "fashioncnn", "tune", "baseline", "--data=sketches"]
    command += ["--space=regularization", "--sampler=random", "--pruner=none", "--finalists=0"]
    command += ["--set=runtime.threads=1", *arguments]
    if storage == "journal":
        subprocess.run([*command, f"--jobs={workers}", f"--out={folder}"], check=True)
        return completed_trials(folder)
    name = f"search_{time.monotonic_ns()}"
    server.execute(f"CREATE DATABASE {name}")
    machines = [
        subprocess.Popen(
            [*command, f"--storage={server.url(name)}", f"--out={folder / str(machine)}"],
            env={**os.environ, "PGPASSWORD": PASSWORD},
        )
        for machine in range(workers)
    ]
    codes = [machine.wait() for machine in machines]
    if any(codes):
        raise SystemExit("a search failed")
    return [(float(end), float(seconds)) for end, seconds in server.execute(FINISHED, name)]


def trials_per_hour(ends: Ends) -> float:
    """Return the rate from the start of the first trial's training to the end of the last one."""
    started = min(end - seconds for end, seconds in ends)
    return 3600 * len(ends) / (max(end for end, _ in ends) - started)


def overhead_seconds(ends: Ends) -> list[float]:
    """Return the time between the ends of consecutive trials that was not spent training."""
    pairs = itertools.pairwise(sorted(ends))
    return [later - earlier - trained for (earlier, _), (later, trained) in pairs]


def calibration_seconds() -> list[float]:
    """Return the time to calibrate the loss of one epoch."""
    from fashioncnn.evaluation.calibration import calibrated_loss

    random = np.random.default_rng(0)
    labels = random.integers(0, 10, CALIBRATED_IMAGES).astype(np.uint8)
    logits = random.normal(size=(CALIBRATED_IMAGES, 10)).astype(np.float32)
    logits[np.arange(CALIBRATED_IMAGES), labels] += 4
    return [timed(lambda: calibrated_loss(logits, labels)) for _ in range(DRAWS)]


def draw_seconds(server: Server) -> list[float]:
    """Return the time to draw a trial with TPE, under the lock, after many others."""
    from fashioncnn.config import resolve
    from fashioncnn.data.sketches import draw_sketches
    from fashioncnn.tuning.address import parse_address
    from fashioncnn.tuning.parsing import read_space
    from fashioncnn.tuning.plan import plan_search
    from fashioncnn.tuning.postgres import SharedStorage
    from fashioncnn.tuning.sampling import ask_trial

    name, space = "draws", read_space("fashion_cnn-adam")
    server.execute(f"CREATE DATABASE {name}")
    os.environ["PGPASSWORD"] = PASSWORD
    config = plan_search(resolve("baseline"), space, "", draw_sketches())
    distributions = {key: parameter.distribution() for key, parameter in space.items()}
    storage = SharedStorage(parse_address(server.url(name)), name)
    study = storage.open_study(config)
    study.add_trials(_random_trials(distributions))

    def draw() -> Any:
        with storage.lock():
            return ask_trial(study, config, distributions)

    draw()  # the values of the recipe
    seconds = []
    for _ in range(DRAWS):
        seconds.append(timed(draw))
        study.tell(len(study.get_trials(deepcopy=False)) - 1, 0.3)
    storage.close()
    return seconds


def _random_trials(distributions: dict[str, Any]) -> list[Any]:
    import optuna

    source = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    random = np.random.default_rng(0)
    trials = []
    for _ in range(HISTORY):
        values = source.ask(distributions).params
        loss, attributes = random.uniform(0.2, 0.6), {"accuracy": 0.9, "seconds": 60.0}
        trials.append(
            optuna.create_trial(
                value=loss, params=values, distributions=distributions, user_attrs=attributes
            )
        )
    return trials


def timed(function: Any) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


@contextmanager
def search_folder() -> Iterator[Path]:
    """Yield the path of a folder that is removed at the end, and does not exist yet."""
    with tempfile.TemporaryDirectory() as parent:
        yield Path(parent) / "search"


def main() -> None:
    """Measure, record, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with running_server() as server:
        result = measure(options, server)
    if options.trials == parser.get_default("trials") and options.repeats > 1:
        write_result(RESULTS / "tuning" / "storage.json", result)
    print(to_markdown(result))


if __name__ == "__main__":
    main()
