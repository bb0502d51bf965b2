"""This package: the recipe `baseline` as ``fashioncnn train`` runs it, without evaluation.

The complete `train_model` runs in memory, and a callback counts the steps: a round is a number of
steps of one long training, with all work of the loop between them.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fashioncnn.config import resolve
from fashioncnn.data.load import load_dataset
from fashioncnn.devices import configure_process
from fashioncnn.errors import FashionCNNError
from fashioncnn.settings import Settings
from fashioncnn.training.prepare import prepare_settings
from step_runner import Step, StopTraining, run_steps

EPOCHS = 1_000_000
"""More than are ever trained: the driver ends the training."""


class RoundCallback:
    """Divides a training into rounds; called after every step."""

    def __init__(self, rounds: protocol.Rounds, warmup_steps: int, settings: Settings) -> None:
        self.rounds, self.settings = rounds, settings
        self.last_step = warmup_steps
        self.warming_up = True
        self.started = 0.0
        self.images = 0

    def __call__(self, step: Step) -> None:
        """Count a step; after the last one of a round, report it and wait for the driver."""
        self.images += step.images
        if step.number >= self.last_step:
            self._end_round()
            self._start_round(step.number)

    def _end_round(self) -> None:
        if not self.warming_up:
            self.rounds.send_throughput(time.perf_counter() - self.started, self.images)
            return
        self.warming_up = False
        runtime = self.settings.runtime
        name = f"fashioncnn, {runtime.precision}, kernels {runtime.kernels}"
        used = protocol.versions("fashioncnn", "torch", "numpy")
        self.rounds.send_ready(name, str(runtime.precision), used)

    def _start_round(self, step: int) -> None:
        steps = self.rounds.next_round()
        if steps is None:
            raise StopTraining
        self.last_step = step + steps
        self.images = 0
        self.started = time.perf_counter()


def resolve_settings(
    threads: int, seed: int, precision: str | None, kernels: str | None
) -> Settings:
    """Return the settings of `baseline`, without end and without a test curve."""
    return resolve(
        "baseline",
        flags={
            "threads": threads,
            "seed": seed,
            "precision": precision,
            "kernels": kernels,
            "epochs": EPOCHS,
            "track_test": False,
        },
        environment={"FASHIONCNN_DATA": os.environ.get("FASHIONCNN_DATA", "")},
    )


def main() -> None:
    """Measure."""
    parser = protocol.make_parser(__doc__)
    parser.add_argument("--precision", choices=("fp32", "bf16", "auto"))
    parser.add_argument("--kernels", choices=("torch", "native", "auto"))
    options = parser.parse_args()
    if options.mode == "accuracy":
        parser.error(f"{options.mode}: not supported here; speedrun.py runs fashioncnn train")
    settings = resolve_settings(options.threads, options.seed, options.precision, options.kernels)
    rounds = protocol.Rounds(options)
    configure_process(options.threads)
    try:
        dataset = load_dataset(settings.data.source)
        settings = prepare_settings(settings, dataset)
        run_steps(settings, dataset, RoundCallback(rounds, options.warmup_steps, settings))
    except FashionCNNError as error:
        raise SystemExit(str(error)) from None
    rounds.send_end()


if __name__ == "__main__":
    main()
