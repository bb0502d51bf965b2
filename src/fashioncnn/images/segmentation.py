"""Segment the garment in a photograph from its colors alone, without a trained network.

As in GrabCut (Rother, Kolmogorov and Blake 2004, doi:10.1145/1015706.1015720), two Gaussian
mixtures are fitted to each image, one to the colors of the background and one to those of the
garment. There is no user-drawn box: the fit starts from the assumption that the garment is near the
center and that the border shows background. In place of a graph cut, a mean-field approximation
smooths the probabilities (Krähenbühl and Koltun 2011, arXiv:1210.5644, with the smoothness kernel
only). The result is deterministic. On a copy reduced to `WORKING_SIDE` pixels it takes about 40 ms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.images.color import is_grayscale, normalize_mode, to_grayscale, to_lab
from fashioncnn.images.mixture import Floats, GaussianMixture, k_means

WORKING_SIDE = 72
"""Longer side of the copy that is segmented, in pixels."""
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
            others are segmented.
        size: side in pixels.

    Returns:
        (views, size, size) uint8: a view for each of `CENTER_WEIGHTS`, or one view where
        transparency defines the background. A grayscale image of this size is one view, unchanged.
    """
    gray = to_grayscale(image)
    if gray.shape == (size, size) and is_grayscale(image):
        return gray[None]
    image = normalize_mode(image)
    if image.mode == "RGBA":
        masks = [_or_everything(np.asarray(image.getchannel("A")) / 255)]
    else:
        masks = [garment_mask(image.convert("RGB"), weight) for weight in CENTER_WEIGHTS]
    inverted = Image.fromarray(255 - gray)
    return np.stack([_crop_to_mask(inverted, mask, size) for mask in masks])


def garment_mask(image: Image.Image, center_weight: float) -> Floats:
    """Return the probability that each pixel belongs to the garment.

    Args:
        image: RGB.
        center_weight: of the log-odds of the center prior.

    Returns:
        (rows, columns) in [0, 1], of a copy whose longer side is at most `WORKING_SIDE`; 0 outside
        of the large connected components. All 1 where no garment was found.
    """
    small = image.copy()
    small.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if min(small.size) < MIN_WORKING_SIDE:
        return np.ones((small.height, small.width))
    mask = _garment_probabilities(np.asarray(small), center_weight)
    return _or_everything(mask * _large_components(mask > THRESHOLD))


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
    image = np.asarray(inverted.resize(fitted, Image.Resampling.LANCZOS, box))
    alpha = Image.fromarray(mask.astype(np.float32)).resize(
        fitted, Image.Resampling.BILINEAR, (left, top, right, bottom)
    )
    masked = np.round(np.clip(image, MIN_GARMENT_LEVEL, 255) * np.asarray(alpha))
    canvas = np.zeros((size, size), np.uint8)
    x, y = (size - fitted[0]) // 2, (size - fitted[1]) // 2
    canvas[y : y + fitted[1], x : x + fitted[0]] = masked
    return canvas


def _garment_probabilities(rgb: NDArray[np.uint8], center_weight: float) -> Floats:
    """Return (rows, columns) probabilities for (rows, columns, 3) pixels."""
    rows, columns, _ = rgb.shape
    blur_down, blur_across = (_blur_matrix(n, PREPROCESSING_SIGMA) for n in (rows, columns))
    lab = np.einsum("ij,jkc,lk->ilc", blur_down, to_lab(rgb), blur_across, optimize=True)
    colors = lab.reshape(-1, 3)
    distance = _distance_from_center(rows, columns)
    prior = np.clip(0.03 + 0.9 * (1 - distance**2) ** 0.7, 0.02, 0.95)
    prior_log_odds = center_weight * np.log(prior / (1 - prior))
    probability = np.where(distance > 0.9, 0.02, prior) * _novelty(colors, distance)
    kernels = _blur_matrix(rows, NEIGHBOR_SIGMA), _blur_matrix(columns, NEIGHBOR_SIGMA)
    background: GaussianMixture | None = None
    garment: GaussianMixture | None = None
    for _ in range(EM_ROUNDS):
        background = _refit(background, colors, (1 - probability).ravel() + MIN_PIXEL_WEIGHT)
        garment = _refit(garment, colors, probability.ravel() + MIN_PIXEL_WEIGHT)
        log_odds = _log_likelihood(garment, colors) - _log_likelihood(background, colors)
        log_odds = np.clip(log_odds, -MAX_COLOR_LOG_ODDS, MAX_COLOR_LOG_ODDS)
        probability = _mean_field(log_odds.reshape(rows, columns) + prior_log_odds, *kernels)
    return probability


def _distance_from_center(rows: int, columns: int) -> Floats:
    """Return (rows, columns) Chebyshev distances from the center, 1 at the edges."""
    v, u = (np.abs((np.arange(n) + 0.5) / n * 2 - 1) for n in (rows, columns))
    distances: Floats = np.maximum(v[:, None], u[None])
    return distances


def _novelty(colors: Floats, distance: Floats) -> Floats:
    """Return (rows, columns) in [0, 1): how much each color differs from those at the border."""
    border = (distance > BORDER_DISTANCE).ravel().astype(np.float64)
    responsibilities = border[:, None] * k_means(colors, border, COMPONENTS)
    background = GaussianMixture.fit(colors, responsibilities, MIN_VARIANCE)
    novelty: Floats = 1 - np.exp(-background.nearest_squared_distance(colors) / NOVELTY_SCALE)
    return novelty.reshape(distance.shape)


def _refit(mixture: GaussianMixture | None, colors: Floats, weights: Floats) -> GaussianMixture:
    """Return the mixture after one EM step on weighted colors, starting from k-means."""
    if mixture is None:
        responsibilities = k_means(colors, weights, COMPONENTS)
    else:
        responsibilities = mixture.responsibilities(colors)
    return GaussianMixture.fit(colors, weights[:, None] * responsibilities, MIN_VARIANCE)


def _log_likelihood(mixture: GaussianMixture, colors: Floats) -> Floats:
    """Return (n,) log-likelihoods of colors, up to a constant."""
    likelihood: Floats = np.logaddexp.reduce(mixture.log_densities(colors), 1)
    return likelihood


def _mean_field(log_odds: Floats, blur_down: Floats, blur_across: Floats) -> Floats:
    """Return probabilities in which each pixel's log-odds depend on its neighbors, too."""
    probability = _sigmoid(log_odds)
    for _ in range(MEAN_FIELD_ROUNDS):
        neighbors = blur_down @ (2 * probability - 1) @ blur_across.T
        probability = _sigmoid(log_odds + NEIGHBOR_WEIGHT * neighbors)
    return probability


def _large_components(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the connected components of at least `MIN_COMPONENT_FRACTION` of the largest."""
    label = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:  # propagate the highest label to all neighbors until nothing changes
        padded = np.pad(label, 1)
        neighbors = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
        propagated = np.where(mask, np.maximum.reduce((label, *neighbors)), 0)
        if (propagated == label).all():
            break
        label = propagated
    sizes = np.bincount(label.ravel())
    sizes[0] = 0
    return np.isin(label, np.flatnonzero(sizes >= max(1, MIN_COMPONENT_FRACTION * sizes.max())))


def _blur_matrix(n: int, sigma: float) -> Floats:
    """Return (n, n): multiplied with n values, a Gaussian blur, normalized at the ends."""
    positions = np.arange(n)
    kernel = np.exp(-0.5 * np.square((positions[:, None] - positions[None]) / sigma))
    blur: Floats = kernel / kernel.sum(1, keepdims=True)
    return blur


def _sigmoid(log_odds: Floats) -> Floats:
    probability: Floats = 1 / (1 + np.exp(-log_odds))
    return probability
