"""The machine's limit: the fastest product of two square matrices.

It uses the best precision that the processor has instructions for and the same number of threads,
and is measured between the rounds, so that other processes slow down both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from fashioncnn.cgroups import granted_cores
from fashioncnn.devices import gpu_name, has_bf16
from fashioncnn.environment import available_cores, cpu_name, peak_memory_bytes

Result = dict[str, Any]
"""What ``fashioncnn bench`` prints as JSON."""

LIMIT_SIDES = {"cpu": (1024, 2048), "mps": (2048, 4096), "cuda": (4096, 8192)}
"""Sides of the matrices by device; the fastest counts. A GPU needs large ones."""
LIMIT_FRACTION = 0.25
"""Time for the limit in each round, as a fraction of that for the measurement."""


class Limit:
    """The fastest product of two square matrices measured on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.precision = "bf16" if has_bf16(device) else "fp32"
        self.rounds: list[float] = []
        self.cpu_fractions: list[float] = []

    def measure(self, seconds: float) -> float:
        """Multiply for about `seconds`; return the fastest in GFLOP/s."""
        sides = LIMIT_SIDES[self.device.type]
        cpu_start, start = time.process_time(), time.perf_counter()
        best = max(self._fastest(side, seconds / len(sides)) for side in sides)
        cpu, wall = time.process_time() - cpu_start, time.perf_counter() - start
        cores = min(torch.get_num_threads(), available_cores(), granted_cores() or math.inf)
        self.cpu_fractions.append(min(1.0, cpu / (wall * cores)))
        self.rounds.append(best)
        return best

    def _fastest(self, side: int, seconds: float) -> float:
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        left, right = torch.randn(2, side, side, device=self.device).to(dtype).unbind()
        product = torch.empty_like(left)

        def multiply() -> None:
            torch.mm(left, right, out=product)
            synchronize(self.device)

        multiply()
        return 2 * side**3 / min(call_times(multiply, seconds)) / 1e9

    def fraction(self, images_per_second: float, flop_per_image: float) -> float:
        """Return the rate of operations as a fraction of the limit."""
        return images_per_second * flop_per_image / (max(self.rounds) * 1e9)

    def as_dict(self) -> Result:
        """Return the limit as JSON types.

        `processor_share` is the lowest CPU time of a round as a fraction of what its threads could
        use: well below 1, other processes used the cores. None on a GPU.
        """
        on_cpu = self.device.type == "cpu"
        return {
            "limit_gflops": max(self.rounds),
            "limit_precision": self.precision,
            "limit_rounds": self.rounds,
            "processor_share": min(self.cpu_fractions) if on_cpu else None,
        }


def call_times(call: Callable[[], object], seconds: float) -> list[float]:
    """Call repeatedly for `seconds`, at least once; return the time of each call in seconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: of the GPU, else of the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_memory_bytes()


def describe_machine(device: torch.device) -> Result:
    """Return processor, cores, GPU and version of torch."""
    return {
        "cpu": cpu_name(),
        "cores": available_cores(),
        "gpu": gpu_name(device),
        "torch": torch.__version__,
    }
