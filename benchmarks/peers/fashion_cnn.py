"""FashionCNN as users of PyTorch write it."""

from __future__ import annotations

from torch import nn


def build_model() -> nn.Sequential:
    """Return FashionCNN: (n, 1, 28, 28) float32 images in [0, 1] to (n, 10) logits."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 256),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(256, 10),
    )
