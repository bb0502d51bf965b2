"""PyTorch with all images as tensors in memory, shuffled by ``torch.randperm``.

The usual next step once the DataLoader is the bottleneck. ``--channels-last`` and ``--precision
bf16`` are the two changes that PyTorch's tuning guide recommends for CPUs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import protocol
import torch
from fashion_cnn import build_model
from numpy.typing import NDArray
from torch import Tensor, nn


def to_tensors(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], memory_format: torch.memory_format
) -> tuple[Tensor, Tensor]:
    """Return (n, 1, 28, 28) float32 images in [0, 1], and (n,) int64 labels."""
    scaled = torch.from_numpy(images).unsqueeze(1).float() / 255
    targets = torch.from_numpy(labels.astype(np.int64))
    return scaled.to(memory_format=memory_format), targets


def train_epoch(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    loss_fn: nn.Module,
    optimizer: torch.optim.Optimizer,
    autocast: torch.autocast,
) -> Iterator[int]:
    """Train an epoch; yield the number of images after every step."""
    model.train()
    running_loss, correct = 0.0, 0
    for batch in torch.split(torch.randperm(len(images)), protocol.BATCH_SIZE):
        inputs, targets = images[batch], labels[batch]
        with autocast:
            logits = model(inputs)
            loss = loss_fn(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running_loss += loss.item() * len(batch)
        correct += int((logits.argmax(1) == targets).sum().item())
        yield len(batch)


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, autocast: torch.autocast) -> float:
    """Return the accuracy on `images`."""
    model.eval()
    correct = 0
    with torch.no_grad(), autocast:
        for inputs, targets in zip(
            torch.split(images, 1000), torch.split(labels, 1000), strict=True
        ):
            correct += int((model(inputs).argmax(1) == targets).sum().item())
    return correct / len(labels)


def main() -> None:
    """Measure."""
    parser = protocol.make_parser(__doc__)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    data = protocol.read_data()
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    images, labels = to_tensors(data.train_images, data.train_labels, layout)
    test_images, test_labels = to_tensors(data.test_images, data.test_labels, layout)
    model = build_model().to(memory_format=layout)  # type: ignore[call-overload]
    protocol.check_parameters(sum(p.numel() for p in model.parameters()))
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=protocol.LEARNING_RATE)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16")

    def epoch() -> Iterator[int]:
        return train_epoch(model, images, labels, loss_fn, optimizer, autocast)

    if options.mode == "accuracy":
        protocol.report_epochs(
            options.epochs,
            epoch,
            lambda: evaluate(model, test_images, test_labels, autocast),
        )
    else:
        name = "PyTorch, tensors in memory"
        name += ", channels_last" if options.channels_last else ""
        name += ", bf16 autocast" if options.precision == "bf16" else ""
        packages = ("torch", "numpy")
        protocol.serve_rounds(
            options, name, options.precision, packages, protocol.make_train_steps(epoch)
        )


if __name__ == "__main__":
    main()
