"""Run a network over many images."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fashioncnn.artifacts.preprocessing import Preprocessing

BATCH = 500
TTA = Literal["none", "flip"]
"""Kinds of test-time augmentation."""


def compute_logits(
    model: nn.Module,
    preprocessing: Preprocessing,
    images: Tensor,
    precision: str = "fp32",
    tta: TTA = "none",
    temperature: float = 1.0,
) -> NDArray[np.float32]:
    """Return logits, (n, classes) float32, for images (n, 1, size, size) uint8.

    Args:
        model: put into evaluation mode for this, and back afterwards.
        preprocessing: the network's own.
        images: on the network's device.
        precision: ``fp32`` or ``bf16``.
        tta: test-time augmentation; ``flip`` takes the mean of the probabilities for each image
            and its mirror image, at twice the work.
        temperature: above 0, that the probabilities of ``flip`` are of; the mean has them at it
            again.
    """

    def answer(part: Tensor) -> Tensor:
        inputs = preprocessing(part)
        logits: Tensor = model(inputs).float()
        if tta == "flip":
            views = torch.stack([logits, model(inputs.flip(3)).float()]) / temperature
            logits = temperature * (views.log_softmax(2).logsumexp(0) - math.log(2))
        return logits.cpu()

    was_training = model.training
    model.eval()
    with (
        torch.inference_mode(),
        torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"),
    ):
        parts = [answer(part) for part in torch.split(images, BATCH)]
    model.train(was_training)
    return torch.cat(parts).numpy()


def to_tensor(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return (n, size, size) uint8 images as (n, 1, size, size) uint8 on `device`.

    On the CPU it is the array's own memory, where that may be written to, and no copy.
    """
    tensor = torch.from_numpy(images) if images.flags.writeable else torch.tensor(images)
    return tensor.to(device).unsqueeze(1)
