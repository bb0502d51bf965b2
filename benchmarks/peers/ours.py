"""Ourselves: the recipe `baseline` as ``fashioncnn train`` runs it, without judging the test part.

The whole of `train_model` runs, in memory, and an observer counts the steps: a round is so many
steps of one long training, whatever the loop does around them included.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import common

from fashioncnn.config import resolve
from fashioncnn.data.load import load_dataset
from fashioncnn.errors import FashionCNNError
from fashioncnn.settings import Settings
from fashioncnn.training.callbacks import Silent
from fashioncnn.training.loop import Progress
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model


class Finished(Exception):  # noqa: N818 - no error
    """The driver wants no more rounds."""


class RoundObserver(Silent):
    """Cuts a training into rounds."""

    def __init__(self, rounds: common.Rounds, warmup_steps: int, settings: Settings) -> None:
        self.rounds, self.settings = rounds, settings
        self.end_at = warmup_steps
        self.warming_up = True
        self.started = 0.0
        self.position = self.images = 0

    def step(self, progress: Progress) -> None:
        """Count a step, and wait for the driver after the last one of a round."""
        before = self.position if progress.position > self.position else 0  # a new epoch
        self.images += progress.position - before
        self.position = progress.position
        if progress.step >= self.end_at:
            self._end_round()
            self._begin_round(progress.step)

    def _end_round(self) -> None:
        if not self.warming_up:
            self.rounds.report(time.perf_counter() - self.started, self.images)
            return
        self.warming_up = False
        runtime = self.settings.runtime
        name = f"fashioncnn, {runtime.precision}, kernels {runtime.kernels}"
        used = common.versions("fashioncnn", "torch", "numpy")
        self.rounds.ready(name, str(runtime.precision), used)

    def _begin_round(self, step: int) -> None:
        steps = self.rounds.wait()
        if steps is None:
            raise Finished
        self.end_at = step + steps
        self.images = 0
        self.started = time.perf_counter()


def resolve_settings(
    threads: int, seed: int, precision: str | None, kernels: str | None
) -> Settings:
    """Return the settings of `baseline`, with no end and no look at the test part."""
    return resolve(
        "baseline",
        flags={
            "threads": threads,
            "seed": seed,
            "precision": precision,
            "epochs": 1_000_000,
            "track_test": False,
        },
        assignments=[f"runtime.kernels={kernels}"] if kernels else [],
        environment={"FASHIONCNN_DATA": os.environ.get("FASHIONCNN_DATA", "")},
    )


def main() -> None:
    """Measure."""
    parser = common.make_parser(__doc__)
    parser.add_argument("--precision", choices=("fp32", "bf16", "auto"))
    parser.add_argument("--kernels", choices=("torch", "native", "auto"))
    options = parser.parse_args()
    if options.mode == "accuracy":
        parser.error(f"{Path(__file__).name}: for accuracy by time, run fashioncnn train itself")
    try:
        settings = resolve_settings(
            options.threads, options.seed, options.precision, options.kernels
        )
        dataset = load_dataset(settings.data.source)
        settings = prepare_settings(settings, dataset)
        rounds = common.Rounds(options)
        train_model(
            settings, dataset, observer=RoundObserver(rounds, options.warmup_steps, settings)
        )
    except FashionCNNError as error:
        raise SystemExit(str(error)) from None
    except Finished:
        rounds.end()


if __name__ == "__main__":
    main()
