"""Augmentation of whole batches, on the device that they are on.

What is done to an image is a pure function of (seed, epoch, index): for each epoch a table of
parameters is drawn for all images at once, and pixels' own random values are hashes of a key in
that table (`fashioncnn.augmentation.noise`). A batch is so augmented alike whenever and wherever it is
made.

Geometry comes first, as one affine map and one interpolation, then tones, blur and noise, then
rectangles, and last the mixing of images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fashioncnn.augmentation.noise import normal_field, uniform_field
from fashioncnn.augmentation.outlier_exposure import outliers
from fashioncnn.augmentation.photographs import ClassTraits, render_photographs
from fashioncnn.augmentation.sampling import SAMPLES_PER_IMAGE, Sampler
from fashioncnn.data.seeding import augmentation_generator
from fashioncnn.settings import AugmentationConfig

WHITE = 255.0
ERASED_AREA, ERASED_ASPECT = (0.02, 0.4), 0.3
"""Share of the image, and the smallest of height / width: Zhong et al. 2020, arXiv:1708.04896."""
BLUR_REACH = 3
"""Pixels to each side that a blur looks at, for each pixel of its standard deviation."""

Draw = Callable[[np.random.Generator, int, AugmentationConfig], NDArray[Any]]


def _even(generator: np.random.Generator, n: int, largest: float) -> NDArray[np.float64]:
    return generator.uniform(-largest, largest, n)


def _factor(generator: np.random.Generator, n: int, largest: float) -> NDArray[np.float64]:
    """Factors as likely to be f as 1 / f, up to 1 + `largest`."""
    return np.exp(_even(generator, n, math.log1p(largest)))


def _beta(generator: np.random.Generator, n: int, alpha: float) -> NDArray[np.float64]:
    return generator.beta(alpha, alpha, n)


COLUMNS: dict[str, tuple[str, Draw]] = {
    "flipped": ("flip", lambda g, n, c: g.random(n) < c.flip),
    "right": ("shift", lambda g, n, c: g.integers(-c.shift, c.shift, n, endpoint=True)),
    "down": ("shift", lambda g, n, c: g.integers(-c.shift, c.shift, n, endpoint=True)),
    "part": ("crop", lambda g, n, c: g.uniform(1 - c.crop, 1, n)),
    "part_x": ("crop", lambda g, n, _: g.uniform(-1, 1, n)),
    "part_y": ("crop", lambda g, n, _: g.uniform(-1, 1, n)),
    "turn": ("rotation", lambda g, n, c: _even(g, n, math.radians(c.rotation))),
    "size": ("scale", lambda g, n, c: _factor(g, n, c.scale)),
    "lean": ("shear", lambda g, n, c: np.tan(_even(g, n, math.radians(c.shear)))),
    "bright": ("brightness", lambda g, n, c: 1 + _even(g, n, c.brightness)),
    "contrast": ("contrast", lambda g, n, c: 1 + _even(g, n, c.contrast)),
    "sigma": ("blur", lambda g, n, c: g.uniform(0, c.blur, n)),
    "deviation": ("noise", lambda g, n, c: g.uniform(0, c.noise, n)),
    "erased": ("erasing", lambda g, n, c: g.random(n) < c.erasing),
    "erased_area": ("erasing", lambda g, n, _: g.uniform(*ERASED_AREA, n)),
    "erased_aspect": ("erasing", lambda g, n, _: _factor(g, n, 1 / ERASED_ASPECT - 1)),
    "erased_x": ("erasing", lambda g, n, _: g.random(n)),
    "erased_y": ("erasing", lambda g, n, _: g.random(n)),
    "cut_x": ("cutout", lambda g, n, _: g.random(n)),
    "cut_y": ("cutout", lambda g, n, _: g.random(n)),
    "mixed": ("mixup", lambda g, n, c: _beta(g, n, c.mixup)),
    "pasted": ("cutmix", lambda g, n, c: _beta(g, n, c.cutmix)),
    "pasted_x": ("cutmix", lambda g, n, _: g.random(n)),
    "pasted_y": ("cutmix", lambda g, n, _: g.random(n)),
    "pastes": ("cutmix", lambda g, n, c: g.random(n) < (0.5 if c.mixup else 1)),
    "photographed": ("photograph", lambda g, n, c: g.random(n) < c.photograph),
    "scene": ("photograph", lambda g, n, _: g.random((n, SAMPLES_PER_IMAGE), np.float32)),
    "outside": ("outlier_exposure", lambda g, n, c: g.random(n) < c.outlier_exposure),
    "piece": ("outlier_exposure", lambda g, n, _: g.random((n, SAMPLES_PER_IMAGE), np.float32)),
}
"""What is drawn for each image, the setting that asks for it, and how. The place in this dict is
the stream that a column is drawn from: new ones go to its end."""
KEY_STREAM = 1000
STREAMS = {"scene": 0x5CE7E000, "piece": 0x91ECE000}
"""What keys are mixed with for the noise within each table's images; any constants do."""


@dataclass
class Augmentation:
    """Augments the images of one data set; see `fashioncnn.settings.AugmentationConfig`.

    Attributes:
        config: what is done.
        seed: of the training.
        n: images in the data set.
        traits: of each, see `fashioncnn.augmentation.photographs`; None where nothing is known.
        parts: (n,) int64, of which part of each another kind of garment is made, see
            `fashioncnn.augmentation.outlier_exposure`; None is of none.
    """

    config: AugmentationConfig
    seed: int
    n: int
    traits: ClassTraits | None = None
    parts: Tensor | None = None

    def __post_init__(self) -> None:
        self._epoch = -1
        self._table: dict[str, Tensor] = {}

    def __call__(self, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Return the images augmented, all but mixed.

        Args:
            images: (b, 1, size, size) uint8.
            indices: (b,) int64, where in the data set each is.
            epoch: counted from 0.

        Returns:
            (b, 1, size, size) float32 in [0, 255], on the device of `images`.
        """
        drawn = self._drawn(indices, epoch)
        images = self._taken_out(images.float(), indices, drawn)
        images = self._photographed(images, indices, drawn)
        images = _warp(images, drawn)
        images = _tone(images, drawn)
        if "sigma" in drawn:
            images = _blur(images, drawn["sigma"], self.config.blur)
        if "deviation" in drawn:
            normal = normal_field(drawn["key"], images[0].numel(), 0).view(images.shape)
            images = images + WHITE * drawn["deviation"].view(-1, 1, 1, 1) * normal
        images = images.clamp_(0, WHITE)
        return _cover(images, drawn, self.config.cutout)

    def outside(self, indices: Tensor, epoch: int) -> Tensor | None:
        """Return (b,) bool: which images became some of no class; None where none ever do."""
        outside = self._drawn(indices, epoch).get("outside")
        return None if outside is None else outside > 0

    def _taken_out(self, images: Tensor, indices: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """Put images of none of the classes in the place of a share."""

        def changed(some: Tensor, chosen: Tensor, sampler: Sampler) -> Tensor:
            numbers = indices[chosen]
            parts = torch.zeros_like(numbers) if self.parts is None else self.parts[numbers]
            return outliers(some, sampler, parts)

        return _in_a_share(images, drawn, "outside", "piece", changed)

    def _photographed(self, images: Tensor, indices: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """Make a share of the images look like photographs."""

        def changed(some: Tensor, chosen: Tensor, sampler: Sampler) -> Tensor:
            numbers = indices[chosen]
            traits = ClassTraits.none(numbers) if self.traits is None else self.traits.of(numbers)
            if "outside" in drawn:
                outside = drawn["outside"][chosen] > 0
                traits = ClassTraits(
                    traits.paired & ~outside, traits.sleeved & ~outside, traits.broad | outside
                )
            return render_photographs(some, sampler, traits)

        return _in_a_share(images, drawn, "photographed", "scene", changed)

    @property
    def mixes(self) -> bool:
        """Whether `mix` does anything."""
        return self.config.mixup > 0 or self.config.cutmix > 0

    def mix(self, images: Tensor, indices: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Mix each image of a batch with its partner: the first with the last, and so on.

        Args:
            images: (b, 1, size, size) float32.
            indices: (b,) int64.
            epoch: counted from 0.

        Returns:
            The mixed images, and (b,) float32: how much of each is its own, in [0, 1].
        """
        drawn = self._drawn(indices, epoch)
        partners = images.flip(0)
        share = drawn.get("mixed")
        if "pasted" not in drawn:
            assert share is not None  # noqa: S101 - for the type checker
            kept = share.view(-1, 1, 1, 1).expand_as(images)
        else:
            side = (1 - drawn["pasted"]).sqrt()
            box = _rectangle(images, drawn["pasted_x"], drawn["pasted_y"], side, side)
            kept = 1 - box
            if share is not None:
                kept = torch.where(
                    drawn["pastes"].view(-1, 1, 1, 1) > 0, kept, share.view(-1, 1, 1, 1)
                )
        return partners + kept * (images - partners), kept.mean((1, 2, 3))

    def _drawn(self, indices: Tensor, epoch: int) -> dict[str, Tensor]:
        """Return what was drawn for these images, (b,) each; only columns that are asked for."""
        if epoch != self._epoch:
            self._table = self._draw_table(epoch, indices.device)
            self._epoch = epoch
        return {name: column[indices] for name, column in self._table.items()}

    def _draw_table(self, epoch: int, device: torch.device) -> dict[str, Tensor]:
        table = {}
        for stream, (name, (setting, draw)) in enumerate(COLUMNS.items()):
            if getattr(self.config, setting) > 0:
                generator = augmentation_generator(self.seed, epoch, stream)
                values = draw(generator, self.n, self.config).astype(np.float32)
                table[name] = torch.from_numpy(values).to(device)
        config = self.config
        if max(config.noise, config.erasing, config.photograph, config.outlier_exposure) > 0:
            generator = augmentation_generator(self.seed, epoch, KEY_STREAM)
            table["key"] = torch.from_numpy(generator.integers(0, 2**32, self.n)).to(device)
        return table


def _in_a_share(
    images: Tensor,
    drawn: dict[str, Tensor],
    share: str,
    table: str,
    change: Callable[[Tensor, Tensor, Sampler], Tensor],
) -> Tensor:
    """Change the images for which the column `share` was drawn, by what `table` has for them."""
    if share not in drawn:
        return images
    (chosen,) = drawn[share].nonzero(as_tuple=True)
    if len(chosen):
        # A stream of keys for each, or both would draw the same noise.
        key = drawn["key"][chosen] ^ STREAMS[table]
        sampler = Sampler(drawn[table][chosen], key, images.shape[-1])
        images[chosen] = change(images[chosen], chosen, sampler)
    return images


def _warp(images: Tensor, drawn: dict[str, Tensor]) -> Tensor:
    """Flip, turn, scale, shear, crop and shift by one interpolation; what comes in is black."""
    if not drawn.keys() & {"flipped", "right", "part", "turn", "size", "lean"}:
        return images
    b, side = len(images), images.shape[-1]
    matrix = torch.eye(2, device=images.device).repeat(b, 1, 1)
    offset = torch.zeros(b, 2, device=images.device)
    # From places of the result to places of the image, both in [-1, 1], y down.
    if "flipped" in drawn:
        matrix[:, 0] *= (1 - 2 * drawn["flipped"]).unsqueeze(1)
    if "turn" in drawn:
        cosine, sine = drawn["turn"].cos(), drawn["turn"].sin()
        turned = torch.stack([cosine, -sine, sine, cosine], 1).view(b, 2, 2)
        matrix = matrix @ turned
    if "lean" in drawn:
        leaning = torch.eye(2, device=images.device).repeat(b, 1, 1)
        leaning[:, 0, 1] = drawn["lean"]
        matrix = matrix @ leaning
    if "size" in drawn:
        matrix = matrix / drawn["size"].view(-1, 1, 1)
    if "part" in drawn:
        matrix = matrix * drawn["part"].view(-1, 1, 1)
        corner = torch.stack([drawn["part_x"], drawn["part_y"]], 1)
        offset += (1 - drawn["part"]).unsqueeze(1) * corner
    if "right" in drawn:
        offset -= torch.stack([drawn["right"], drawn["down"]], 1) * (2 / side)
    theta = torch.cat([matrix, offset.unsqueeze(2)], 2)
    grid = F.affine_grid(theta, [b, 1, side, side], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _tone(images: Tensor, drawn: dict[str, Tensor]) -> Tensor:
    """Brightness, then contrast about the mean of the image, as ColorJitter for grey."""
    if "bright" in drawn:
        images = (images * drawn["bright"].view(-1, 1, 1, 1)).clamp_(0, WHITE)
    if "contrast" in drawn:
        mean = images.mean((1, 2, 3), keepdim=True)
        images = mean + (images - mean) * drawn["contrast"].view(-1, 1, 1, 1)
        images = images.clamp_(0, WHITE)
    return images


def _blur(images: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Blur each image by a Gaussian of its own; edges are repeated."""
    reach = math.ceil(BLUR_REACH * largest)
    steps = torch.arange(-reach, reach + 1, device=images.device)
    weights = torch.exp(-0.5 * (steps / sigma.clamp(min=1e-3).unsqueeze(1)) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).unsqueeze(1)
    b, side = len(images), images.shape[-1]
    for shape in ((1, -1), (-1, 1)):
        reach_y, reach_x = (reach if size == -1 else 0 for size in shape)
        padded = F.pad(images, (reach_x, reach_x, reach_y, reach_y), mode="replicate")
        kernel = weights.view(b, 1, *shape)
        images = F.conv2d(padded.transpose(0, 1), kernel, groups=b).transpose(0, 1)
    return images.reshape(b, 1, side, side)


def _cover(images: Tensor, drawn: dict[str, Tensor], cutout: float) -> Tensor:
    """Cover a rectangle with random values (random erasing), and a square with black (cutout)."""
    if "erased" in drawn:
        area, aspect = drawn["erased_area"], drawn["erased_aspect"]
        high, reshape_per_image = (
            (area * aspect).sqrt().clamp(max=1),
            (area / aspect).sqrt().clamp(max=1),
        )
        x = (
            reshape_per_image / 2 + (1 - reshape_per_image) * drawn["erased_x"]
        )  # it lies within the image
        y = high / 2 + (1 - high) * drawn["erased_y"]
        box = _rectangle(images, x, y, reshape_per_image, high) * drawn["erased"].view(-1, 1, 1, 1)
        random = uniform_field(drawn["key"], images[0].numel(), 2).view(images.shape)
        images = torch.where(box > 0, WHITE * random, images)
    if "cut_x" in drawn:
        side = torch.full_like(drawn["cut_x"], cutout)
        images = images * (1 - _rectangle(images, drawn["cut_x"], drawn["cut_y"], side, side))
    return images


def _rectangle(
    images: Tensor, x: Tensor, y: Tensor, reshape_per_image: Tensor, high: Tensor
) -> Tensor:
    """Return 1 inside of a rectangle and 0 outside, like `images`, cut off at the edge.

    Args:
        images: (b, 1, side, side).
        x: (b,) its middle, as a share of the side.
        y: likewise.
        wide: (b,) likewise.
        high: likewise.
    """
    side = images.shape[-1]
    places = (torch.arange(side, device=images.device) + 0.5) / side
    across = (places - x.unsqueeze(1)).abs() < reshape_per_image.unsqueeze(1) / 2
    down = (places - y.unsqueeze(1)).abs() < high.unsqueeze(1) / 2
    return (down.unsqueeze(2) & across.unsqueeze(1)).unsqueeze(1).to(images.dtype)
