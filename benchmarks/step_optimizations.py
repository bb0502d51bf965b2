"""Measure the contribution of each optimization of a training step, on the CPU.

    python benchmarks/step_optimizations.py

A plain PyTorch version of FashionCNN's step, with one optimization after another. Every variant is
a process of its own (the settings of the allocator hold for a whole process), and the variants are
interleaved in rounds. Images are random: speed does not depend on them. Writes
``benchmarks/results/step_optimizations.json``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import RESULTS, make_parser, measurement_context, write_result
from fashioncnn.environment import configure_allocator
from tables import format_range, markdown_table

BATCH, WARMUP, STEPS, ROUNDS = 128, 10, 60, 3


@dataclass(frozen=True)
class Variant:
    """Which optimizations a step has.

    Attributes:
        channels_last: memory format of the convolutions.
        fused_adam: PyTorch's fused implementation of Adam.
        keep_memory: the allocator keeps freed memory.
        pool_first: max pooling before ReLU, which gives the same values.
    """

    channels_last: bool = False
    fused_adam: bool = False
    keep_memory: bool = False
    pool_first: bool = False


VARIANTS = {
    "NCHW, Adam": Variant(),
    "channels_last": Variant(True),
    "channels_last, fused Adam": Variant(True, True),
    "channels_last, fused Adam, freed memory kept": Variant(True, True, True),
    "channels_last, fused Adam, freed memory kept, pooling before ReLU": Variant(
        True, True, True, True
    ),
    "all of them without channels_last": Variant(False, True, True, True),
}


class Network(nn.Module):
    """FashionCNN with 128 hidden units."""

    def __init__(self, pool_first: bool) -> None:
        super().__init__()
        self.pool_first = pool_first
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.hidden, self.output = nn.Linear(3136, 128), nn.Linear(128, 10)

    def _block(self, convolution: nn.Module, values: Tensor) -> Tensor:
        if self.pool_first:
            return F.relu(F.max_pool2d(convolution(values), 2))
        return F.max_pool2d(F.relu(convolution(values)), 2)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, 10) logits of (n, 1, 28, 28) uint8 images."""
        features = self._block(self.conv2, self._block(self.conv1, images.float() / 255))
        hidden = F.dropout(F.relu(self.hidden(features.flatten(1))), 0.5)
        logits: Tensor = self.output(hidden)
        return logits


def measure(variant: Variant, steps: int = STEPS) -> float:
    """Return images per second of one variant in this process."""
    if variant.keep_memory:
        configure_allocator()
    torch.manual_seed(0)
    network = Network(variant.pool_first)
    if variant.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=variant.fused_adam)
    images = torch.randint(0, 256, (BATCH, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (BATCH,))
    started = 0.0
    for step in range(WARMUP + steps):
        if step == WARMUP:
            started = time.perf_counter()
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(network(images), labels))
        optimizer.step()
    return steps * BATCH / (time.perf_counter() - started)


def measure_in_process(name: str) -> float:
    """Return images per second of one variant in a process of its own."""
    command = [sys.executable, __file__, "--variant", name]
    return float(subprocess.check_output(command, text=True))


def main() -> None:
    """Measure all variants in rounds, or with ``--variant`` one of them in this process."""
    parser = make_parser(__doc__)
    parser.add_argument("--variant", choices=VARIANTS, help="measure only this one, print its rate")
    options = parser.parse_args()
    if options.variant:
        print(measure(VARIANTS[options.variant]))
        return
    rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name in VARIANTS:
            rates[name].append(measure_in_process(name))
    result = {"batch": BATCH, "rounds": ROUNDS, "images_per_second": rates}
    write_result(RESULTS / "step_optimizations.json", {**measurement_context(), **result})
    rows = [(name, format_range(values)) for name, values in rates.items()]
    print(markdown_table(("variant", "images per second, median [minimum – maximum]"), rows))


if __name__ == "__main__":
    main()
