"""Segment the garment in a photograph from its colors alone, without a trained network.

As in GrabCut (Rother, Kolmogorov and Blake 2004, doi:10.1145/1015706.1015720), two Gaussian
mixtures are fitted to each image, one to the colors of the background and one to those of the
garment. There is no user-drawn box: the fit starts from the assumption that the garment is near the
center and that the border shows background. In place of a graph cut, a mean-field approximation
smooths the probabilities (Krähenbühl and Koltun 2011, arXiv:1210.5644, with the smoothness kernel
only). The result is deterministic. On a copy reduced to `WORKING_SIDE` pixels it takes about 6 ms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.images.color import (
    is_grayscale,
    normalize_mode,
    to_grayscale,
    to_lab,
    without_slight_transparency,
)
from fashioncnn.images.components import label_components
from fashioncnn.images.mixture import Doubles, Floats, GaussianMixtures, k_means, monomials

WORKING_SIDE = 72
"""Longer side of the copy that is segmented, in pixels."""
REDUCING_GAP = 3.0
"""Images are averaged over blocks of whole pixels to at least this many times the size that they
are resampled to, which takes a fraction of the time of resampling alone."""
MIN_WORKING_SIDE = 8
"""Shorter side below which the copy is not segmented."""
COMPONENTS = 5
"""Normal distributions in each mixture, as in GrabCut."""
EM_ROUNDS = 5
MEAN_FIELD_ROUNDS = 5
MIN_VARIANCE = 12.0
"""Added to each color variance, in squared units of CIELAB."""
MAX_COLOR_LOG_ODDS = 6.0
"""Limit on the log-odds that color alone contributes at a pixel."""
CENTER_WEIGHTS = 0.7, 1.5
"""Weights of the center prior's log-odds, one view each. A high weight misses light or dark regions
that resemble the border, a low one includes background."""
PREPROCESSING_SIGMA = 0.7
"""Standard deviation of the blur applied to the colors, in pixels."""
NEIGHBOR_WEIGHT, NEIGHBOR_SIGMA = 3.0, 1.2
"""Weight and standard deviation, in pixels, of the smoothness kernel."""
BORDER_DISTANCE = 0.8
"""Distance from the center, 1 at the edge, beyond which pixels initialize the background."""
NOVELTY_SCALE = 6.0
"""Squared Mahalanobis distance from the background at which a color counts as 63% novel."""
MIN_PIXEL_WEIGHT = 1e-6
"""Weight of every pixel in both mixtures, so that neither is ever empty."""
THRESHOLD = 0.5
"""Probability above which a pixel belongs to the garment."""
MIN_GARMENT_LEVEL = 26
"""Gray level of the darkest garment, so that it differs from the black background."""
MIN_COMPONENT_FRACTION = 0.25
"""Size of a connected component relative to the largest. Shoes in pairs are two components."""


def cut_out(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return the garment in the style of Fashion-MNIST: inverted, on black, resized to fit.

    Args:
        image: of any mode. In images with transparency, the transparent region is the background;
            others, and those with hardly any, are segmented.
        size: side in pixels.

    Returns:
        (views, size, size) uint8: a view for each of `CENTER_WEIGHTS`, or one view where
        transparency defines the background. A grayscale image of this size is one view, unchanged.
    """
    gray = to_grayscale(image)
    if gray.shape == (size, size) and is_grayscale(image):
        return gray[None]
    return apply_masks(gray, find_masks(without_slight_transparency(image)), size)


def find_masks(image: Image.Image) -> Floats:
    """Return (views, rows, columns): the opacity of an image with transparency, else segmented.

    Args:
        image: of any mode.
    """
    image = normalize_mode(image)
    if image.mode == "RGBA":
        opacity = np.asarray(image.getchannel("A"), np.float32) / np.float32(255)
        return _or_everything(opacity)[None]
    return garment_masks(image if image.mode == "RGB" else image.convert("RGB"))


def apply_masks(gray: NDArray[np.uint8], masks: Floats, size: int) -> NDArray[np.uint8]:
    """Return (views, size, size): for each mask, the inverted image on black, resized to fit.

    Args:
        gray: (height, width).
        masks: (views, rows, columns) in [0, 1], of the same image at any resolution.
        size: side in pixels.
    """
    inverted = Image.fromarray(255 - gray)
    return np.stack([_crop_to_mask(inverted, _or_everything(mask), size) for mask in masks])


def garment_masks(image: Image.Image) -> Floats:
    """Return the probability that each pixel belongs to the garment, for each center weight.

    Args:
        image: RGB.

    Returns:
        (views, rows, columns) in [0, 1], of a copy whose longer side is at most `WORKING_SIDE`; 0
        outside of the large connected components. All 1 where no garment was found.
    """
    scale = min(1, WORKING_SIDE / max(image.size))
    width, height = (max(1, round(n * scale)) for n in image.size)
    if min(width, height) < MIN_WORKING_SIDE:
        return np.ones((len(CENTER_WEIGHTS), height, width), np.float32)
    small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
    masks = _garment_probabilities(np.asarray(small))
    return np.stack([_or_everything(mask * _large_components(mask > THRESHOLD)) for mask in masks])


def _or_everything(mask: Floats) -> Floats:
    return mask if (mask > THRESHOLD).any() else np.ones_like(mask)


def _crop_to_mask(inverted: Image.Image, mask: Floats, size: int) -> NDArray[np.uint8]:
    """Return (size, size): the image times the mask, cropped to the mask, resized and centered."""
    rows, columns = (np.flatnonzero((mask > THRESHOLD).any(axis)) for axis in (1, 0))
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    scale = size / max(bottom - top, right - left)
    fitted = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    x_scale, y_scale = inverted.width / mask.shape[1], inverted.height / mask.shape[0]
    box = left * x_scale, top * y_scale, right * x_scale, bottom * y_scale
    image = np.asarray(inverted.resize(fitted, Image.Resampling.LANCZOS, box, REDUCING_GAP))
    alpha = Image.fromarray(mask.astype(np.float32)).resize(
        fitted, Image.Resampling.BILINEAR, (left, top, right, bottom)
    )
    masked = np.round(np.clip(image, MIN_GARMENT_LEVEL, 255) * np.asarray(alpha))
    canvas = np.zeros((size, size), np.uint8)
    x, y = (size - fitted[0]) // 2, (size - fitted[1]) // 2
    canvas[y : y + fitted[1], x : x + fitted[0]] = masked
    return canvas


def _garment_probabilities(rgb: NDArray[np.uint8]) -> Floats:
    """Return (views, rows, columns) probabilities for (rows, columns, 3) pixels."""
    rows, columns, _ = rgb.shape
    terms = monomials(_smooth_colors(rgb))
    distance = _distance_from_center(rows, columns)
    prior = np.clip(0.03 + 0.9 * (1 - distance**2) ** 0.7, 0.02, 0.95)
    prior_log_odds = np.multiply.outer(CENTER_WEIGHTS, np.log(prior / (1 - prior)))
    probability = np.where(distance > 0.9, 0.02, prior) * _novelty(terms, distance)
    weights = _pixel_weights(probability[None].astype(np.float32))
    responsibilities = weights[..., None, :] * k_means(terms, weights, COMPONENTS)
    responsibilities = np.tile(responsibilities, (1, len(CENTER_WEIGHTS), 1, 1))
    kernels = _blur_matrix(rows, NEIGHBOR_SIGMA), _blur_matrix(columns, NEIGHBOR_SIGMA)
    for _ in range(EM_ROUNDS):
        mixtures = GaussianMixtures.fit(terms, responsibilities, MIN_VARIANCE)
        likelihood, posterior = _likelihood(mixtures.log_densities(terms))
        color_log_odds = (likelihood[:, 1::2] - likelihood[:, ::2]).transpose(1, 0, 2)
        color_log_odds = np.clip(color_log_odds, -MAX_COLOR_LOG_ODDS, MAX_COLOR_LOG_ODDS)
        log_odds = (color_log_odds + prior_log_odds).astype(np.float32)
        probabilities = _mean_field(log_odds, *kernels)
        responsibilities = _pixel_weights(probabilities)[..., None, :] * posterior
    return probabilities


def _smooth_colors(rgb: NDArray[np.uint8]) -> Floats:
    """Return (3, rows, columns) CIELAB colors, blurred, less their mean."""
    rows, columns, _ = rgb.shape
    lab = np.moveaxis(to_lab(rgb), -1, 0)
    blurred = _blur_matrix(rows, PREPROCESSING_SIGMA) @ lab
    blurred = blurred @ _blur_matrix(columns, PREPROCESSING_SIGMA).T
    centered: Floats = blurred - blurred.mean((1, 2), keepdims=True)
    return centered


def _distance_from_center(rows: int, columns: int) -> Doubles:
    """Return (rows, columns) Chebyshev distances from the center, 1 at the edges."""
    v, u = (np.abs((np.arange(n) + 0.5) / n * 2 - 1) for n in (rows, columns))
    distances: Doubles = np.maximum(v[:, None], u[None])
    return distances


def _novelty(terms: Floats, distance: Doubles) -> Floats:
    """Return (rows, columns) in [0, 1): how much each color differs from those at the border."""
    border = (distance > BORDER_DISTANCE).astype(np.float32)[:, None]
    responsibilities = border[..., None, :] * k_means(terms, border, COMPONENTS)
    background = GaussianMixtures.fit(terms, responsibilities, MIN_VARIANCE)
    novelty: Floats = 1 - np.exp(-background.nearest_squared_distance(terms) / NOVELTY_SCALE)
    return novelty[:, 0]


def _pixel_weights(probabilities: Floats) -> Floats:
    """Return (rows, 2 views, columns): each pixel's weight in background and garment of a view.

    Args:
        probabilities: (views, rows, columns) of the garment.
    """
    both = np.stack([1 - probabilities, probabilities], axis=1) + np.float32(MIN_PIXEL_WEIGHT)
    return np.ascontiguousarray(both.reshape(-1, *probabilities.shape[1:]).transpose(1, 0, 2))


def _likelihood(log_densities: Floats) -> tuple[Floats, Floats]:
    """Return log-likelihoods of colors and the posterior of each component (the E step).

    Args:
        log_densities: (rows, mixtures, k, columns).

    Returns:
        (rows, mixtures, columns), up to a constant, and (rows, mixtures, k, columns).
    """
    highest = log_densities.max(2, keepdims=True)
    densities = np.exp(log_densities - highest)
    sums = densities.sum(2, keepdims=True)
    return (highest + np.log(sums))[:, :, 0], densities / sums


def _mean_field(log_odds: Floats, blur_down: Floats, blur_across: Floats) -> Floats:
    """Return probabilities in which each pixel's log-odds depend on its neighbors, too.

    Computed as expectations of labels -1 and 1: the hyperbolic tangent of half the log-odds.

    Args:
        log_odds: (views, rows, columns).
        blur_down: (rows, rows).
        blur_across: (columns, columns).
    """
    half = np.float32(0.5) * log_odds
    weighted_down: Floats = (NEIGHBOR_WEIGHT / 2 * blur_down).astype(np.float32)
    expectation: NDArray[Any] = np.tanh(half)
    for _ in range(MEAN_FIELD_ROUNDS):
        expectation = np.tanh(half + weighted_down @ expectation @ blur_across.T)
    probabilities: Floats = np.float32(0.5) * (1 + expectation)
    return probabilities


def _large_components(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the connected components of at least `MIN_COMPONENT_FRACTION` of the largest."""
    labels = label_components(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    is_large: NDArray[np.bool_] = sizes >= max(1, MIN_COMPONENT_FRACTION * sizes.max())
    return is_large[labels]


def _blur_matrix(n: int, sigma: float) -> Floats:
    """Return (n, n): multiplied with n values, a Gaussian blur, normalized at the ends."""
    positions = np.arange(n)
    kernel = np.exp(-0.5 * np.square((positions[:, None] - positions[None]) / sigma))
    blur: Floats = (kernel / kernel.sum(1, keepdims=True)).astype(np.float32)
    return blur
