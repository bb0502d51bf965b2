"""Profile a training step: which operators take the time.

    python benchmarks/profile_step.py
    python benchmarks/profile_step.py fast93 --threads 1 --kernels torch

Trains a recipe on built-in drawings under PyTorch's profiler and prints the operators that take
most, in milliseconds per step. The profiler itself costs some microseconds per call.
"""

from __future__ import annotations

from typing import Any

from torch.profiler import profile

from common import make_parser
from fashioncnn.bench.training import repeated_sketches
from fashioncnn.config import resolve
from fashioncnn.data.dataset import Dataset
from fashioncnn.devices import configure_process
from fashioncnn.environment import available_cores, cpu_name
from fashioncnn.settings import Settings
from fashioncnn.training.prepare import prepare_settings
from step_runner import Step, StopTraining, run_steps
from tables import markdown_table

WARMUP_STEPS = 20
EPOCHS = 1_000_000
"""More than are ever profiled: the profile ends the training."""


def profile_steps(settings: Settings, dataset: Dataset, steps: int) -> list[Any]:
    """Return the profiler's averages of `steps` training steps, by operator."""
    profiler = profile()

    def on_step(step: Step) -> None:
        if step.number == WARMUP_STEPS:
            profiler.start()
        elif step.number == WARMUP_STEPS + steps:
            profiler.stop()
            raise StopTraining

    run_steps(settings, dataset, on_step)
    return list(profiler.key_averages())


def to_markdown(operators: list[Any], steps: int, rows: int) -> str:
    """Return a table of the `rows` operators that take most CPU time."""
    total = sum(operator.self_cpu_time_total for operator in operators)
    cells = []
    for operator in sorted(operators, key=lambda o: -o.self_cpu_time_total)[:rows]:
        own = operator.self_cpu_time_total
        milliseconds, calls = f"{own / 1e3 / steps:.2f}", f"{operator.count / steps:g}"
        cells.append((operator.key, milliseconds, f"{own / total:.1%}", calls))
    cells.append(("all", f"{total / 1e3 / steps:.2f}", "100%", ""))
    return markdown_table(("operator", "ms per step", "fraction", "calls per step"), cells)


def main() -> None:
    """Profile and print."""
    parser = make_parser(__doc__)
    parser.add_argument("recipe", nargs="?", default="baseline")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--kernels", choices=("auto", "native", "torch"), default="auto")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rows", type=int, default=16, help="of the table")
    options = parser.parse_args()
    dataset = repeated_sketches()
    flags = {"threads": options.threads, "kernels": options.kernels}
    flags |= {"validation": 0, "track_test": False, "epochs": EPOCHS}
    configure_process(options.threads)
    settings = prepare_settings(resolve(options.recipe, flags=flags), dataset)
    operators = profile_steps(settings, dataset, options.steps)
    runtime = settings.runtime
    print(
        f"{options.recipe}, {cpu_name()}, {runtime.threads} threads, {runtime.precision}, "
        f"{runtime.kernels} kernels, batch size {settings.training.batch_size}\n"
    )
    print(to_markdown(operators, options.steps, options.rows))


if __name__ == "__main__":
    main()
