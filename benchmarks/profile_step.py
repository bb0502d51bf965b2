"""Where the time of a training step goes.

    python benchmarks/profile_step.py
    python benchmarks/profile_step.py fast93 --threads 1 --kernels torch

Trains a recipe on drawn images under PyTorch's profiler and prints the operators that take most,
in milliseconds a step. The profiler itself costs some microseconds a call.
"""

from __future__ import annotations

import argparse
import contextlib

from torch.profiler import profile

from fashioncnn.bench import stand_in_data
from fashioncnn.config import resolve
from fashioncnn.runtime import available_cores, cpu_name, prepare_torch
from fashioncnn.training.loop import Progress
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.state import TrainState

WARMUP = 20


class Enough(Exception):  # noqa: N818 - no error
    """Stops the loop."""


def main() -> None:
    """Train, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="baseline")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--kernels", choices=("auto", "native", "torch"), default="auto")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rows", type=int, default=16)
    options = parser.parse_args()
    dataset = stand_in_data()
    flags = {"threads": options.threads, "kernels": options.kernels, "validation": 0}
    settings = prepare_settings(resolve(options.recipe, flags=flags), dataset)
    learner = TrainState.begin(settings, dataset.train, dataset, prepare_torch(settings.runtime))
    progress = Progress()

    def learn(until: int) -> None:
        def stop(progress: Progress) -> None:
            if progress.step >= until:
                raise Enough

        with contextlib.suppress(Enough):
            learner.learn(progress, on_step=stop, on_epoch=lambda _: None)

    learn(WARMUP)
    with profile() as profiled:
        learn(WARMUP + options.steps)
    events = sorted(profiled.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    runtime = settings.runtime
    print(
        f"{options.recipe}, {cpu_name()}, {runtime.threads} threads, {runtime.precision}, "
        f"{runtime.kernels} kernels, batch {settings.training.batch_size}\n"
    )
    print("| operator | ms a step | share | calls a step |\n| --- | ---: | ---: | ---: |")
    for event in events[: options.rows]:
        own = event.self_cpu_time_total
        print(
            f"| {event.key} | {own / 1e3 / options.steps:.2f} | {own / total:.1%} "
            f"| {event.count / options.steps:g} |"
        )
    print(f"| all | {total / 1e3 / options.steps:.2f} | 100% | |")


if __name__ == "__main__":
    main()
