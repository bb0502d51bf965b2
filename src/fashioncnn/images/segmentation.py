"""Where the garment is on a photograph, told from its colours alone.

Two mixtures of normal distributions are fitted to the very image, one to the colours of what the
garment lies or hangs on and one to its own, as GrabCut does (Rother, Kolmogorov and Blake 2004,
doi:10.1145/1015706.1015720); what begins them is no hand-drawn box, but that garments lie about the
middle and that the border shows the background. Instead of a minimal cut, each pixel's odds lean
towards those around it (a mean field; Krähenbühl and Koltun 2011, arXiv:1210.5644, their smoothness
kernel alone). All of it is deterministic, and takes some 40 ms on a small copy of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.images.decoding import is_grey, to_grey, to_plain_mode

SIDE = 72
"""Pixels on the longer side of the copy that is looked at."""
LEAST = 8
"""Pixels on the shorter side of a copy below which nothing can be told apart."""
COLOURS, ROUNDS, LEANINGS = 5, 5, 5
"""Normal distributions in a mixture; times that both are fitted; times that odds are smoothed."""
FLOOR = 12.0
"""Added to each variance, in squared units of CIELAB: no colour is exact."""
LARGEST_ODDS = 6.0
"""Logarithm of the odds that colour alone may give a pixel."""
PLACES = 0.7, 1.5
"""How much it counts that a pixel lies about the middle: less loses light or dark parts that are
like the border, more keeps some background; both are seen."""
NEIGHBOURS, REACH = 3.0, 1.2
"""Weight of the pixels around one, and how far these lie."""
BORDER, NOVEL = 0.8, 6.0
"""Where the border begins, 1 being the edge; squared deviations from its colours that are news."""
TRACE = 1e-6
"""Of every pixel belongs to both sides, so that neither is ever empty."""
FIRM = 0.5
"""Probability above which a pixel is the garment's."""
DARKEST = 26
"""Grey level of the darkest garment, so that it is not background."""
PART = 0.25
"""Share of the largest piece that another piece needs: shoes come in pairs."""

# From linear sRGB to CIE XYZ, relative to the white of D65 (IEC 61966-2-1).
TO_XYZ = np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
TO_XYZ = TO_XYZ / np.array([0.9505, 1.0, 1.089])

Floats = NDArray[np.float64]


def cut_out(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return the garment as Fashion-MNIST shows one: on black, as large as fits, in negative.

    Args:
        image: of any mode. What is see-through is background, and else it is looked for.
        size: side in pixels.

    Returns:
        (views, size, size) uint8: a view for each of `PLACES`. A grey image that already has the
        size is one view, taken as it is.
    """
    grey = to_grey(image)
    if grey.shape == (size, size) and is_grey(image):
        return grey[None]
    image = to_plain_mode(image)
    if image.mode == "RGBA":
        masks = [_or_all(np.asarray(image.getchannel("A")) / 255)]
    else:
        masks = [garment_mask(image.convert("RGB"), place) for place in PLACES]
    return np.stack([_shown(Image.fromarray(255 - grey), mask, size) for mask in masks])


def garment_mask(image: Image.Image, place: float) -> Floats:
    """Return how surely each pixel is the garment's, in [0, 1].

    Args:
        image: RGB.
        place: how much it counts that a pixel lies about the middle.

    Returns:
        (rows, columns) of a copy with its longer side at most `SIDE`; 0 outside of the pieces that
        make up the garment. All 1 where nothing could be told apart.
    """
    small = image.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    if min(small.size) < LEAST:
        return np.ones((small.height, small.width))
    mask = _probabilities(np.asarray(small), place)
    return _or_all(mask * _large_pieces(mask > FIRM))


def _or_all(mask: Floats) -> Floats:
    return mask if (mask > FIRM).any() else np.ones_like(mask)


def _shown(grey: Image.Image, mask: Floats, size: int) -> NDArray[np.uint8]:
    """Return what lies under the mask, brought to (size, size)."""
    rows, columns = (np.flatnonzero((mask > FIRM).any(axis)) for axis in (1, 0))
    top, left, bottom, right = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    scale = size / max(bottom - top, right - left)
    fitted = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    across, down = grey.width / mask.shape[1], grey.height / mask.shape[0]
    box = left * across, top * down, right * across, bottom * down
    lanczos, bilinear = Image.Resampling.LANCZOS, Image.Resampling.BILINEAR
    image = np.asarray(grey.resize(fitted, lanczos, box))
    cover = Image.fromarray(mask.astype(np.float32)).resize(
        fitted, bilinear, (left, top, right, bottom)
    )
    shown = np.zeros((size, size), np.uint8)
    x, y = (size - fitted[0]) // 2, (size - fitted[1]) // 2
    visible = np.clip(image, DARKEST, 255) * np.asarray(cover)
    shown[y : y + fitted[1], x : x + fitted[0]] = np.round(visible)
    return shown


def to_lab(rgb: NDArray[np.uint8]) -> Floats:
    """Return (…, 3) CIELAB for (…, 3) sRGB."""
    unit = rgb.astype(np.float64) / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    xyz = linear @ TO_XYZ
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@dataclass
class _Mixture:
    """Of normal distributions.

    Attributes:
        shares: (k,) of all values.
        means: (k, 3).
        whiten: (k, 3, 3), what makes each distribution's values independent and of variance 1.
    """

    shares: Floats
    means: Floats
    whiten: Floats

    @classmethod
    def fit(cls, colours: Floats, belong: Floats) -> _Mixture:
        """Return the mixture of (n, 3) colours that belong to its parts as (n, k) tells."""
        sizes = belong.sum(0) + 1e-9
        means = belong.T @ colours / sizes[:, None]
        off = colours[None] - means[:, None]
        weighted = off * belong.T[..., None]
        spread = weighted.transpose(0, 2, 1) @ off / sizes[:, None, None] + FLOOR * np.eye(3)
        return cls(sizes / sizes.sum(), means, np.linalg.inv(np.linalg.cholesky(spread)))

    def log_densities(self, colours: Floats) -> Floats:
        """Return (n, k), of each part with its share, but for a constant."""
        off = (colours[None] - self.means[:, None]) @ self.whiten.transpose(0, 2, 1)
        scale = np.log(np.diagonal(self.whiten, axis1=1, axis2=2)).sum(1) + np.log(self.shares)
        densities: Floats = scale[None] - 0.5 * np.square(off).sum(2).T
        return densities

    def least_distances(self, colours: Floats) -> Floats:
        """Return (n,), squared distances to the nearest part in its own deviations."""
        off = (colours[None] - self.means[:, None]) @ self.whiten.transpose(0, 2, 1)
        nearest: Floats = np.square(off).sum(2).min(0)
        return nearest


def _probabilities(rgb: NDArray[np.uint8], weight_of_place: float) -> Floats:
    """Return (rows, columns) probabilities that (rows, columns, 3) pixels are the garment's."""
    rows, columns, _ = rgb.shape
    down, across = _blur(rows, 0.7), _blur(columns, 0.7)
    lab = np.einsum("ij,jkc,lk->ilc", down, to_lab(rgb), across, optimize=True)
    colours = lab.reshape(-1, 3)
    down, across = _blur(rows, REACH), _blur(columns, REACH)
    v, u = (np.abs((np.arange(n) + 0.5) / n * 2 - 1) for n in (rows, columns))
    outwards = np.maximum(v[:, None], u[None])
    place = np.clip(0.03 + 0.9 * (1 - outwards**2) ** 0.7, 0.02, 0.95)
    place_odds = weight_of_place * np.log(place / (1 - place))
    probable = np.where(outwards > 0.9, 0.02, place)
    border = (outwards > BORDER).ravel().astype(np.float64)
    behind = _Mixture.fit(colours, border[:, None] * _clusters(colours, border))
    new = 1 - np.exp(-behind.least_distances(colours) / NOVEL)
    probable *= new.reshape(rows, columns)
    mixtures: list[_Mixture] = []
    for _ in range(ROUNDS):
        sides = (1 - probable).ravel() + TRACE, probable.ravel() + TRACE
        mixtures = [
            _Mixture.fit(colours, weight[:, None] * _belonging(colours, weight, before))
            for weight, before in zip(sides, mixtures or (None, None), strict=True)
        ]
        behind, garment = (np.logaddexp.reduce(m.log_densities(colours), 1) for m in mixtures)
        odds = np.clip(garment - behind, -LARGEST_ODDS, LARGEST_ODDS).reshape(rows, columns)
        odds += place_odds
        probable = _sigmoid(odds)
        for _ in range(LEANINGS):
            probable = _sigmoid(odds + NEIGHBOURS * (down @ (2 * probable - 1) @ across.T))
    return probable


def _belonging(colours: Floats, weight: Floats, mixture: _Mixture | None) -> Floats:
    """Return (n, k): how far each colour belongs to each part, by the mixture there was before."""
    if mixture is None:
        return _clusters(colours, weight)
    logs = mixture.log_densities(colours)
    shares = np.exp(logs - logs.max(1, keepdims=True))
    belonging: Floats = shares / shares.sum(1, keepdims=True)
    return belonging


def _clusters(colours: Floats, weight: Floats) -> Floats:
    """Return (n, k), 1 at each colour's cluster, by k-means.

    The first centre begins as the mean of all, each other as what is farthest from those before.
    """
    centres = [weight @ colours / weight.sum()]
    for _ in range(COLOURS - 1):
        nearest = np.min([np.square(colours - c).sum(1) for c in centres], axis=0)
        centres.append(colours[(nearest * weight).argmax()])
    for _ in range(5):
        distances = np.stack([np.square(colours - c).sum(1) for c in centres], axis=1)
        cluster: Floats = np.eye(COLOURS)[distances.argmin(1)]
        sizes = weight @ cluster
        sums = (weight[:, None] * cluster).T @ colours
        centres = [s / n if n > 0 else c for s, n, c in zip(sums, sizes, centres, strict=True)]
    return cluster


def _large_pieces(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pieces of a mask that are not much smaller than the largest of them."""
    label = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:  # each pixel takes the highest number that its neighbours have
        padded = np.pad(label, 1)
        around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
        spread = np.where(mask, np.maximum.reduce((label, *around)), 0)
        if (spread == label).all():
            break
        label = spread
    sizes = np.bincount(label.ravel())
    sizes[0] = 0
    return np.isin(label, np.flatnonzero(sizes >= max(1, PART * sizes.max())))


def _blur(n: int, sigma: float) -> Floats:
    """Return (n, n), which times n values blurs them by a Gaussian; at the ends it is narrower."""
    places = np.arange(n)
    kernel = np.exp(-0.5 * np.square((places[:, None] - places[None]) / sigma))
    blur: Floats = kernel / kernel.sum(1, keepdims=True)
    return blur


def _sigmoid(odds: Floats) -> Floats:
    probability: Floats = 1 / (1 + np.exp(-odds))
    return probability
