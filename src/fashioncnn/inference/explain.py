"""What spoke for an answer: Grad-CAM, drawn beside what the network saw.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", arXiv:1610.02391, equations 1 and 2.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fashioncnn.evaluation.logits import to_tensor
from fashioncnn.models.layers import ConvolutionalNetwork
from fashioncnn.models.trained_model import TrainedModel

SIDE = 224
"""Pixels that a view is drawn at, at least."""
GAP = 8
CAPTION = 24
GROUND, INK = (24, 24, 24), (235, 235, 235)
HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""From nothing to most: five colours of matplotlib's map "inferno", equally far apart."""
IMAGE_OPACITY = 0.35
"""How much of the image shines through the heat."""


def grad_cam(
    model: TrainedModel, images: NDArray[np.uint8], codes: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return what spoke for a class, and where, (n, rows, columns) float32 from 0 up.

    The features of the last convolution, summed with the mean gradient of the class's logit over
    each channel as its weight; what speaks against the class counts as 0.

    Args:
        model: a network of `fashioncnn.models.MODELS`, in evaluation mode.
        images: (n, size, size) uint8, as the network sees them.
        codes: (n,) the class of each.
    """
    network = cast(ConvolutionalNetwork, model.network)
    with torch.no_grad():
        inputs = model.preprocessing(to_tensor(images, model.device))
        found = network.features(inputs)
    with torch.enable_grad():
        features = found.detach().requires_grad_()
        logits = network.head(features)
        chosen = logits.gather(1, torch.from_numpy(codes).to(model.device)[:, None])
        (gradients,) = torch.autograd.grad(chosen.sum(), features)
    weights = gradients.mean((2, 3), keepdim=True)
    heat = (weights * found).sum(1).clamp(min=0)
    return cast("NDArray[np.float32]", heat.float().cpu().numpy())


def explain(model: TrainedModel, views: NDArray[np.uint8], code: int, caption: str) -> Image.Image:
    """Return what the network saw of an image, and beside each view what spoke for the class.

    Args:
        model: see `grad_cam`.
        views: (views, size, size) uint8.
        code: the class.
        caption: a line beneath.
    """
    heat = grad_cam(model, views, np.full(len(views), code, np.int64))
    highest = heat.max()
    shares = heat / highest if highest > 0 else heat
    if highest == 0:
        caption += "; by this map nothing spoke for it"
    side = SIDE // views.shape[1] * views.shape[1] or views.shape[1]  # whole pixels
    tiles = []
    for view, share in zip(views, shares, strict=True):
        shown = Image.fromarray(view).resize((side, side), Image.Resampling.NEAREST)
        tiles += [shown.convert("RGB"), _heated(shown, share)]
    width = len(tiles) * (side + GAP) + GAP
    sheet = Image.new("RGB", (width, side + 2 * GAP + CAPTION), GROUND)
    for position, tile in enumerate(tiles):
        sheet.paste(tile, (GAP + position * (side + GAP), GAP))
    ImageDraw.Draw(sheet).text((GAP, side + 2 * GAP), caption, fill=INK)
    return sheet


def side_by_side(views: NDArray[np.uint8]) -> Image.Image:
    """Return what the network saw, pixel by pixel, its views beside each other."""
    return Image.fromarray(np.concatenate(list(views), axis=1))


def _heated(shown: Image.Image, share: NDArray[np.float32]) -> Image.Image:
    """Return a grey image under the colours of `share`, (rows, columns) in [0, 1]."""
    smooth = Image.fromarray(share).resize(shown.size, Image.Resampling.BILINEAR)
    steps = np.linspace(0, 1, len(HEAT))
    places = np.clip(np.asarray(smooth), 0, 1)
    colours = np.stack([np.interp(places, steps, c) for c in zip(*HEAT, strict=True)], axis=-1)
    grey = np.asarray(shown, np.float64)[..., None]
    mixed = IMAGE_OPACITY * grey + (1 - IMAGE_OPACITY) * colours
    return Image.fromarray(np.round(mixed).astype(np.uint8))
