"""What each change to a training step of FashionCNN gives, on the CPU.

    python benchmarks/step.py

Every variant is a process of its own (the allocator's thresholds hold for a whole process), and the
variants take turns, round after round; printed is the median of the rounds. Random images: the
speed does not depend on them. Writes ``benchmarks/results/step.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

VARIANTS = {
    "NCHW, Adam": "",
    "channels_last": "c",
    "channels_last, fused Adam": "cf",
    "channels_last, fused Adam, freed memory kept": "cfm",
    "channels_last, fused Adam, freed memory kept, pooling before ReLU": "cfmp",
    "the last one without channels_last": "fmp",
}
BATCH, WARMUP, STEPS, ROUNDS = 128, 10, 60, 3


def measure(flags: str) -> float:
    """Return images per second of one variant in this process."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from fashioncnn.runtime import configure_allocator

    if "m" in flags:
        configure_allocator()
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
    hidden, output = nn.Linear(3136, 128), nn.Linear(128, 10)
    network = nn.ModuleList([first, second, hidden, output])
    if "c" in flags:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused="f" in flags)
    images = torch.randint(0, 256, (BATCH, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (BATCH,))

    def block(convolution: nn.Module, values: torch.Tensor) -> torch.Tensor:
        if "p" in flags:
            return F.relu(F.max_pool2d(convolution(values), 2))
        return F.max_pool2d(F.relu(convolution(values)), 2)

    def step() -> None:
        features = block(second, block(first, images.float() / 255))
        logits = output(F.dropout(F.relu(hidden(features.flatten(1))), 0.5))
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(logits, labels))
        optimizer.step()

    for _ in range(WARMUP):
        step()
    started = time.perf_counter()
    for _ in range(STEPS):
        step()
    return STEPS * BATCH / (time.perf_counter() - started)


def main() -> None:
    """Measure all variants in turns, or with ``--variant`` one of them here."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--variant", choices=VARIANTS)
    options = parser.parse_args()
    if options.variant:
        print(measure(VARIANTS[options.variant]))
        return
    rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name in VARIANTS:
            command = [sys.executable, __file__, "--variant", name]
            rates[name].append(float(subprocess.check_output(command, text=True)))
    from fashioncnn.runtime import available_cores, cpu_name

    result = {
        "date": date.today().isoformat(),
        "cpu": cpu_name(),
        "cores": available_cores(),
        "batch": BATCH,
        "rounds": ROUNDS,
        "images_per_second": rates,
    }
    path = Path(__file__).parent / "results" / "step.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print("| variant | images per second, median | lowest – highest |\n| --- | ---: | ---: |")
    for name, values in rates.items():
        low, high = min(values), max(values)
        print(f"| {name} | {statistics.median(values):,.0f} | {low:,.0f} – {high:,.0f} |")


if __name__ == "__main__":
    main()
