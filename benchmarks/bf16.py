"""Compare training in bf16 with native convolutions to PyTorch's, and to fp32, on this CPU.

    python benchmarks/bf16.py
    python benchmarks/bf16.py --recipes accurate --steps 20 --threads 2

Two tables. Layers: milliseconds of the convolutions of `baseline` and `accurate` at batch size 128,
and their relative errors against float64 in the Euclidean norm. Steps: whole training steps of
recipes. Variants take turns in one process. On one thread times are processor time, which other
programs affect less; on more threads, wall time. Minimum and median ratio per variant are shown.
Writes ``benchmarks/results/bf16.json``.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from common import RESULTS, Result, make_parser, measurement_context, write_result
from fashioncnn.bench.training import repeated_sketches
from fashioncnn.config import resolve
from fashioncnn.devices import configure_process
from fashioncnn.kernels import Kernels, load_kernels
from fashioncnn.kernels.convolution import native_convolution
from fashioncnn.models.transfer import set_training_mode
from fashioncnn.training.batches import Batch, Batches
from fashioncnn.training.initialize import create_batches, create_state
from fashioncnn.training.loop import seed_dropout
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.rehearsal import RehearsalBatches
from fashioncnn.training.state import TrainState
from fashioncnn.training.step import make_step, set_learning_rate
from tables import markdown_table

BATCH = 128
LAYERS = {
    "baseline, 1→32 on 28×28, pooled": (1, 28, 32, True),
    "baseline, 32→64 on 14×14, pooled": (32, 14, 64, True),
    "accurate, 32→32 on 28×28": (32, 28, 32, False),
    "accurate, 32→64 on 28×28, pooled": (32, 28, 64, True),
    "accurate, 64→64 on 14×14": (64, 14, 64, False),
    "accurate, 64→96 on 14×14, pooled": (64, 14, 96, True),
    "accurate, 96→96 on 7×7": (96, 7, 96, False),
}
"""Input channels, side, output channels, whether pooled (PyTorch's is measured without pooling)."""
KINDS = ("fp32", "bf16", "bf16, PyTorch")
STEP_VARIANTS = {"fp32": ("fp32", "native"), "bf16": ("bf16", "native")}
STEP_VARIANTS["bf16, PyTorch"] = ("bf16", "mixed")
"""Precision and kernels by variant."""


def interleave(calls: list[Callable[[], object]], rounds: int, threads: int) -> list[list[float]]:
    """Return the milliseconds of each call, one per round, after a round that does not count."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(1 + rounds):
        for call, values in zip(calls, times, strict=True):
            started = clock()
            call()
            values.append((clock() - started) * 1e3)
    return [values[1:] for values in times]


class Layer:
    """A convolution whose forward and backward pass can be timed and compared with float64."""

    def __init__(self, kernels: Kernels, kind: str, sizes: tuple[int, int, int, bool]) -> None:
        in_channels, side, out_channels, self.pooled = sizes
        generator = torch.Generator().manual_seed(0)

        def draw(*size: int) -> Tensor:
            values = torch.randn(size, generator=generator).bfloat16().float()
            return values.contiguous(memory_format=torch.channels_last)

        self.kernels, self.kind = kernels, kind
        images = draw(BATCH, in_channels, side, side).relu()
        weight = draw(out_channels, in_channels, 3, 3) / (9 * in_channels) ** 0.5
        self.exact = images, weight
        in_bf16 = kind != "fp32" and (in_channels > 1 or "PyTorch" in kind)
        self.images = (images.bfloat16() if in_bf16 else images).requires_grad_(in_channels > 1)
        self.weight = weight.bfloat16() if "PyTorch" in kind else weight
        self.weight = self.weight.detach().clone().requires_grad_()
        self.bias = torch.zeros(out_channels) if self.pooled else None
        self.output = self.forward()
        self.gradient = draw(*self.output.shape).to(self.output.dtype)

    def forward(self) -> Tensor:
        """Return the output."""
        return self._convolve(self.bias)

    def _convolve(self, bias: Tensor | None) -> Tensor:
        if "PyTorch" in self.kind:
            return F.conv2d(self.images, self.weight, padding=1)
        bf16 = self.kind == "bf16"
        return native_convolution(self.kernels, self.images, self.weight, bias, 1, bf16)

    def backward(self) -> tuple[Tensor, ...]:
        """Return the gradients."""
        inputs = [t for t in (self.images, self.weight) if t.requires_grad]
        return torch.autograd.grad(self.output, inputs, self.gradient, retain_graph=True)

    def errors(self) -> list[float]:
        """Return the relative errors of output, images' and weight's gradient, without pooling."""
        output = self._convolve(None)
        images, weight = exact = [t.double().requires_grad_() for t in self.exact]
        expected = F.conv2d(images, weight, padding=1)
        gradient = torch.randn_like(expected).to(output.dtype)
        gradients = torch.autograd.grad(output, [self.images, self.weight], gradient)
        exact_gradients = torch.autograd.grad(expected, exact, gradient.double())
        pairs = zip([output, *gradients], [expected, *exact_gradients], strict=True)
        return [float(((a.double() - b).norm() / b.norm()).detach()) for a, b in pairs]


def measure_layers(rounds: int, threads: int) -> Result:
    """Return milliseconds and errors by layer and kind."""
    kernels, results = load_kernels(), {}
    for name, sizes in LAYERS.items():
        layers = [Layer(kernels, kind, sizes) for kind in KINDS]
        forward = interleave([layer.forward for layer in layers], rounds, threads)
        backward = interleave([layer.backward for layer in layers], rounds, threads)
        results[name] = {
            kind: {
                "forward_ms": forward[i],
                "backward_ms": backward[i],
                "errors": layers[i].errors() if sizes[0] > 1 else None,
            }
            for i, kind in enumerate(KINDS)
        }
    return results


def make_call(state: TrainState, batches: Iterator[Batch]) -> Callable[[], None]:
    """Return a function that trains on the next batch, as the training loop does."""
    step = make_step(state)

    def train() -> None:
        set_learning_rate(state.optimizer, state.learning_rate(0))
        seed_dropout(state.device, 0)
        step(next(batches))
        if state.ema is not None:
            state.ema.update()

    return train


def endless(batches: Batches | RehearsalBatches) -> Iterator[Batch]:
    """Yield the batches of one epoch after another."""
    for epoch in itertools.count():
        yield from batches.epoch(epoch, 0)


def measure_steps(recipe: str, steps: int, threads: int) -> Result:
    """Return milliseconds of training steps by variant."""
    dataset, device = repeated_sketches(), torch.device("cpu")
    flags = {"threads": threads, "validation": 0, "track_test": False, "epochs": 1_000}
    calls: list[Callable[[], object]] = []
    for precision, kernels in STEP_VARIANTS.values():
        chosen = {**flags, "precision": precision, "kernels": kernels, "device": "cpu"}
        settings = prepare_settings(resolve(recipe, flags=chosen), dataset)
        state = create_state(settings, dataset.train, dataset, device)
        batches = create_batches(settings, dataset.train, dataset, device)
        set_training_mode(state.network)

        calls.append(make_call(state, endless(batches)))
    return dict(zip(STEP_VARIANTS, interleave(calls, steps, threads), strict=True))


def layers_table(layers: Result) -> str:
    """Return minima of the layers' times, and errors."""
    rows = []
    for name, kinds in layers.items():
        for key in ("forward_ms", "backward_ms"):
            label = f"{name}: {key.removesuffix('_ms')}"
            rows.append((label, *(f"{min(kinds[kind][key]):.2f}" for kind in KINDS)))
    for name, kinds in layers.items():
        if kinds["fp32"]["errors"]:
            cells = (", ".join(f"{e:.1e}" for e in kinds[kind]["errors"]) for kind in KINDS)
            rows.append((f"{name}: errors", *cells))
    return markdown_table(("layer, ms", *KINDS), rows)


def steps_table(steps: Result) -> str:
    """Return minima of the steps' times, and how many times as fast bf16 is."""
    rows = []
    for recipe, times in steps.items():
        ratios = [
            statistics.median(a / b for a, b in zip(times[kind], times["bf16"], strict=True))
            for kind in ("fp32", "bf16, PyTorch")
        ]
        cells = [f"{min(times[kind]):.1f}" for kind in STEP_VARIANTS]
        rows.append((f"`{recipe}`", *cells, *(f"{ratio:.2f}" for ratio in ratios)))
    titles = ("step, ms", *STEP_VARIANTS, "bf16 to fp32", "bf16 to PyTorch's bf16")
    return markdown_table(titles, rows)


def main() -> None:
    """Measure, record, print."""
    parser = make_parser(__doc__)
    parser.add_argument("--recipes", nargs="*", default=["baseline", "fast93", "accurate"])
    parser.add_argument("--steps", type=int, default=20, help="measured steps of each variant")
    parser.add_argument("--rounds", type=int, default=20, help="measurements of each layer")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if not load_kernels().bf16_convolutions:
        raise SystemExit("this processor has no instructions for convolutions in bfloat16")
    configure_process(options.threads)
    context = {**measurement_context(), "threads": options.threads, "batch": BATCH}
    steps = {r: measure_steps(r, options.steps, options.threads) for r in options.recipes}
    layers = measure_layers(options.rounds, options.threads)
    write_result(RESULTS / "bf16.json", {**context, "steps": steps, "layers": layers})
    print(f"{steps_table(steps)}\n\n{layers_table(layers)}")


if __name__ == "__main__":
    main()
