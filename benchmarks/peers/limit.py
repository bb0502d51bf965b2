"""The limit of the machine: PyTorch's product of two square matrices, in a loop.

No network trains faster than its arithmetic at this rate, unless it does less arithmetic.
"""

from __future__ import annotations

import argparse
import time

import protocol
import torch


def main() -> None:
    """Measure; a step is one product."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mode", choices=("throughput",))
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--side", type=int, default=2048, help="rows and columns")
    parser.add_argument("--warmup-steps", type=int, default=5, help="not measured")
    parser.add_argument("--steps", type=int, default=20, help="of a round")
    parser.add_argument("--rounds", type=int, default=1_000_000, help="maximum number")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    left, right = torch.randn(2, options.side, options.side).to(dtype)
    product = torch.empty_like(left)

    def multiply(count: int) -> float:
        """Return the seconds of `count` products."""
        started = time.perf_counter()
        for _ in range(count):
            torch.mm(left, right, out=product)
        return time.perf_counter() - started

    rounds = protocol.Rounds(options)
    multiply(options.warmup_steps)
    name = f"matrix product, {options.side}×{options.side}, {options.precision}"
    rounds.send_ready(name, options.precision, protocol.versions("torch"))
    while (steps := rounds.next_round()) is not None:
        seconds = multiply(steps)
        rounds.send_round(gflops=2 * options.side**3 * steps / seconds / 1e9, seconds=seconds)
    rounds.send_end()


if __name__ == "__main__":
    main()
