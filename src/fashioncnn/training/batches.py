"""Batches of augmented images with their targets, as functions of (seed, epoch, position)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fashioncnn.augmentation.pipeline import Augmentation
from fashioncnn.data.seeding import epoch_order, view_draws


@dataclass(frozen=True)
class Batch:
    """What one step trains on.

    Attributes:
        images: (b, channels, size, size) uint8 or float32 in [0, 255], augmented and mixed.
        labels: (b,) int64; of mixed images, that of the first.
        targets: (b, classes) float32 target probabilities; None where the labels are the targets.
        teacher_probabilities: (b, classes) float32, or None without teachers.
        teacher_weights: (b,) float32, weight of the teachers in the target of each image.
        allowed: (b, classes) bool, the correct classes of each image, see
            `fashioncnn.data.dataset.Split`; an outlier has none. None where the labels or the
            targets are to be used.
        offsets: (b, classes) float32, added to the logits in the loss, 0 for outliers; None for
            none.
        others: images of the step that other processes train on.
        is_padding: whether there are fewer images than processes, and none is left for this one:
            it gets images of another, which do not count.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor | None = None
    teacher_probabilities: Tensor | None = None
    teacher_weights: Tensor | None = None
    allowed: Tensor | None = None
    offsets: Tensor | None = None
    others: int = 0
    is_padding: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """Images of the step, over all processes."""
        return self.others + (0 if self.is_padding else len(self))

    def count_correct(self, logits: Tensor) -> Tensor:
        """Return the number of images whose highest logit is that of a correct class, (), int64."""
        predicted = logits.argmax(1)
        if self.allowed is None:
            return (predicted == self.labels).sum()
        return self.allowed.gather(1, predicted.unsqueeze(1)).sum()

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with `function` applied to each tensor."""
        changed: dict[str, Any] = {k: function(t) for k, t in self._tensors().items()}
        return replace(self, **changed)

    def tensors(self) -> list[Tensor]:
        """Return the tensors that are not None."""
        return list(self._tensors().values())

    def _tensors(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


@dataclass(frozen=True)
class Batches:
    """The training split as batches.

    Attributes:
        images: (n, channels, size, size) uint8; with `view_counts` the views of all images, one
            after the other.
        labels: (n,) int64.
        classes: number of classes.
        batch_size: images per step, over all ranks; the last batch of an epoch may be smaller.
        seed: of the data order.
        augmentation: applied to each batch, or None.
        teacher: returns the teachers' probabilities for a batch of augmented images, or None.
        alpha: weight of the teachers in the targets.
        rank: of this process.
        world_size: number of processes, see `rank_positions`.
        view_counts: (n,) int64 number of views of each image; None if each has one. In each epoch
            one view of an image is drawn.
        allowed: (n, classes) bool, see `Batch`; None if each image has one class.
        offsets: (classes,) float32, see `Batch`; None for none.
    """

    images: Tensor
    labels: Tensor
    classes: int
    batch_size: int
    seed: int
    augmentation: Augmentation | None = None
    teacher: Callable[[Tensor], Tensor] | None = None
    alpha: float = 0.0
    rank: int = 0
    world_size: int = 1
    view_counts: Tensor | None = None
    allowed: Tensor | None = None
    offsets: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from the image at position `start` on."""
        order = torch.from_numpy(epoch_order(self.seed, epoch, len(self))).to(self.images.device)
        for position in range(start, len(self), self.batch_size):
            indices = order[position : position + self.batch_size]
            yield self.build(indices, epoch) if self.world_size == 1 else self._own(indices, epoch)

    def _own(self, indices: Tensor, epoch: int) -> Batch:
        """Return what this process trains on of the images at `indices`, (b,) int64."""
        n = len(indices)
        positions = rank_positions(n, self.rank, self.world_size)
        is_padding = not len(positions)
        if is_padding:
            positions = rank_positions(n, 0, self.world_size)
        own = self.build(indices[positions.to(indices.device)], epoch)
        others = n if is_padding else n - len(own)
        return replace(own, others=others, is_padding=is_padding)

    def build(self, indices: Tensor, epoch: int) -> Batch:
        """Return the batch of the images at `indices`, (b,) int64: augmented, mixed, with targets.

        Images of an outlier, and mixed with one, keep their targets: the teachers have no weight
        there.
        """
        batch = Batch(self.images[self._rows(indices, epoch)], self.labels[indices])
        outliers, mixing = None, None
        if self.augmentation is not None:
            images = self.augmentation(batch.images, indices, epoch)
            outliers = self.augmentation.is_outlier(indices, epoch)
            if self.augmentation.mixes:
                images, mixing = self.augmentation.mix(images, indices, epoch)
            batch = replace(batch, images=images)
        if self.allowed is not None:
            allowed = self.allowed[indices]
            allowed = allowed if outliers is None else allowed & ~outliers.unsqueeze(1)
            return replace(batch, allowed=allowed, offsets=self._offsets(~allowed.any(1)))
        if self.offsets is not None:
            none = torch.zeros_like(indices, dtype=torch.bool)
            batch = replace(batch, offsets=self._offsets(none if outliers is None else outliers))
        targets = target_probabilities(batch.labels, self.classes, outliers, mixing)
        batch = replace(batch, targets=targets)
        if self.teacher is None:
            return batch
        return replace(
            batch,
            teacher_probabilities=self.teacher(batch.images),
            teacher_weights=self._teacher_weights(batch, outliers, mixing),
        )

    def _rows(self, indices: Tensor, epoch: int) -> Tensor:
        """Return the rows of `images` to use for the images at `indices`, (b,) int64."""
        if self.view_counts is None:
            return indices
        draws = torch.from_numpy(view_draws(self.seed, epoch, len(self))).to(indices.device)
        counts = self.view_counts
        rows = counts.cumsum(0) - counts + (draws * counts).long()
        return rows[indices]

    def _offsets(self, outliers: Tensor) -> Tensor | None:
        if self.offsets is None:
            return None
        return self.offsets * (~outliers).unsqueeze(1)

    def _teacher_weights(
        self, batch: Batch, outliers: Tensor | None, mixing: Tensor | None
    ) -> Tensor:
        weights = torch.full((len(batch),), self.alpha, device=batch.labels.device)
        if outliers is None:
            return weights
        affected = outliers if mixing is None else outliers | outliers.flip(0)
        return weights.masked_fill(affected, 0.0)


def rank_positions(n: int, rank: int, world_size: int) -> Tensor:
    """Return which images of a batch a process trains on: their positions, ascending int64.

    An image stays together with its mixing partner, which is at the mirrored position. Within the
    result it is at the mirrored position again, so that a process mixes its own images only.

    Args:
        n: images of the batch.
        rank: of the process; the result is empty if there are not enough images.
        world_size: number of processes.
    """
    positions = torch.arange(n)
    pairs = torch.minimum(positions, n - 1 - positions)
    return positions[pairs % world_size == rank]


def target_probabilities(
    labels: Tensor, classes: int, outliers: Tensor | None, mixing: Tensor | None
) -> Tensor | None:
    """Return the targets of a batch, (b, classes) float32; None where the labels are the targets.

    Args:
        labels: (b,) int64.
        classes: number of classes.
        outliers: (b,) bool, whose target is the uniform distribution (arXiv:1812.04606), or None.
        mixing: (b,) weight of each image in its mixture with the image at the mirrored position of
            the batch (mixup, CutMix), or None.
    """
    if outliers is None and mixing is None:
        return None
    targets = F.one_hot(labels, classes).to(torch.float32)
    if outliers is not None:
        targets = torch.where(outliers.unsqueeze(1), 1 / classes, targets)
    if mixing is not None:
        targets = torch.lerp(targets.flip(0), targets, mixing.unsqueeze(1))
    return targets
