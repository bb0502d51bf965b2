"""Batches of the training split with images of another dataset added to each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from fashioncnn.training.batches import Batch, Batches


@dataclass(frozen=True)
class RehearsalBatches:
    """The batches of the training split, with images of another split added to each of them.

    A network that is fine-tuned forgets what it was trained on before, unless it goes on training
    on some of it: rehearsal (Robins 1995, doi:10.1080/09540099550039318). Each pass over the other
    split has its own order and augmentation, as an epoch has; passes go on from epoch to epoch.

    Attributes:
        batches: of the training split. Both must have `Batches.allowed`.
        rehearsal: of the other split; its batch size is the number of images added to each batch.
    """

    batches: Batches
    rehearsal: Batches

    def __len__(self) -> int:
        """Return the number of images per epoch."""
        return len(self.batches) + self._steps * self.rehearsal.batch_size

    @property
    def batch_size(self) -> int:
        """Images per step."""
        return self.batches.batch_size + self.rehearsal.batch_size

    @property
    def _steps(self) -> int:
        return math.ceil(len(self.batches) / self.batches.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from the image at position `start` on, added ones counted.

        A step is the unit: `start` is where a batch begins, or the end of the epoch.
        """
        done = math.ceil(start / self.batch_size)  # the last batch may be smaller
        own = self.batches.epoch(epoch, done * self.batches.batch_size)
        yield from map(concatenate, own, self._rehearse(epoch * self._steps + done))

    def _rehearse(self, step: int) -> Iterator[Batch]:
        """Yield full batches of the other split, endlessly, from that of a step on."""
        size = self.rehearsal.batch_size
        steps = len(self.rehearsal) // size
        number, position = divmod(step, steps)
        while True:
            for batch in self.rehearsal.epoch(number, position * size):
                if batch.size == size:
                    yield batch
            number, position = number + 1, 0


def concatenate(first: Batch, second: Batch) -> Batch:
    """Return one batch of the images of two, as float32 in [0, 255]."""
    assert first.allowed is not None and second.allowed is not None  # noqa: S101
    if first.is_padding or second.is_padding:
        own, other = (second, first) if first.is_padding else (first, second)
        images = own.images.float()
        return replace(own, images=images, others=own.others + other.others)
    offsets = None
    if first.offsets is not None and second.offsets is not None:
        offsets = torch.cat([first.offsets, second.offsets])
    return Batch(
        torch.cat([first.images.float(), second.images.float()]),
        torch.cat([first.labels, second.labels]),
        allowed=torch.cat([first.allowed, second.allowed]),
        offsets=offsets,
        others=first.others + second.others,
    )
