"""Labeled images in memory: a split of a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.checks import (
    check_allowed,
    check_indices,
    check_names,
    check_views,
    require_uint8,
)
from fashioncnn.errors import DataError


@dataclass(frozen=True, eq=False)
class Split:
    """Labeled images.

    Attributes:
        images: (n, height, width) uint8, grayscale, or (n, height, width, 3); 0 is the empty
            background.
        labels: (n,) uint8, each below the number of classes.
        indices: (n,) int64, the position of each image in the split that was loaded; by default
            0 to n - 1. `subset` keeps them.
        views: for each image (views, height, width[, 3]) uint8, at least one view; None if `images`
            has the only one. Else `images` has the first of each.
        allowed: (n, classes) bool, the correct classes of each image: several are a partial label,
            of which `labels` has the first; none is an image outside of the classes, whose label is
            0. None if each image has exactly one, its label.
        names: what reports call each image, such as the path of its file; None for none.

    Raises:
        DataError: types or shapes are not these, or their lengths differ.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    indices: NDArray[np.int64] = None  # type: ignore[assignment]  # replaced by __post_init__
    views: tuple[NDArray[np.uint8], ...] | None = None
    allowed: NDArray[np.bool_] | None = None
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.indices is None:
            object.__setattr__(self, "indices", np.arange(len(self.labels), dtype=np.int64))
        if self.views is not None:
            check_views(self.views, self.images)
        if self.allowed is not None:
            check_allowed(self.allowed, self.labels)
        check_indices(self.indices)
        require_uint8("images", self.images, dimensions=(3, 4))
        require_uint8("labels", self.labels, dimensions=(1,))
        if self.images.ndim == 4 and self.images.shape[3] != 3:
            raise DataError(
                f"images of shape {self.images.shape}: should be (n, height, width), or "
                "(n, height, width, 3) for color images"
            )
        if self.names is not None:
            check_names(self.names, self.labels)
        if not len(self.images) == len(self.labels) == len(self.indices):
            raise DataError(
                f"{len(self.images):,} images but {len(self.labels):,} labels and "
                f"{len(self.indices):,} indices; should be one of each per image"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        height, width = self.images.shape[1:3]
        return f"Split({len(self):,} images, {height}×{width})"

    def subset(self, positions: NDArray[np.int64]) -> Split:
        """Return the images at `positions` of this split, in that order.

        Args:
            positions: (m,) int64, from 0 to n - 1.
        """
        return Split(
            self.images[positions],
            self.labels[positions],
            self.indices[positions],
            None if self.views is None else tuple(self.views[i] for i in positions),
            None if self.allowed is None else self.allowed[positions],
            None if self.names is None else tuple(self.names[i] for i in positions),
        )

    @property
    def all_views(self) -> Sequence[NDArray[np.uint8]] | NDArray[np.uint8]:
        """The views of each image, (views, height, width[, 3]) uint8."""
        return self.images[:, None] if self.views is None else self.views

    @property
    def stacked_views(self) -> NDArray[np.uint8]:
        """The views of all images, one after the other, (all views, height, width[, 3]) uint8."""
        return self.images if self.views is None else np.concatenate(self.views)

    @property
    def in_classes(self) -> NDArray[np.bool_]:
        """Whether each image belongs to one of the classes, (n,) bool."""
        if self.allowed is None:
            return np.ones(len(self), bool)
        return np.asarray(self.allowed.any(axis=1), bool)

    def within_classes(self) -> Split:
        """Return the images that belong to one of the classes."""
        inside = self.in_classes
        return self if inside.all() else self.subset(np.flatnonzero(inside))

    def outside_classes(self) -> Split:
        """Return the images that belong to none of the classes."""
        return self.subset(np.flatnonzero(~self.in_classes))

    def correct_labels(self, scores: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Return the label of each image to evaluate with: of several, the most probable.

        Args:
            scores: (n, classes) logits or probabilities.

        Returns:
            (n,) uint8; that of an image outside of the classes has no meaning.
        """
        if self.allowed is None:
            return self.labels
        labels: NDArray[np.uint8] = np.where(self.allowed, scores, -np.inf).argmax(1)
        return labels.astype(np.uint8)

    @property
    def strata(self) -> NDArray[np.uint8]:
        """What a partition is stratified by, (n,) uint8: the label, or the set of labels."""
        if self.allowed is None:
            return self.labels
        strata: NDArray[np.int64] = np.unique(self.allowed, axis=0, return_inverse=True)[1]
        return strata.ravel().astype(np.uint8)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of shape, pixels and labels, in hexadecimal; independent of names and indices."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        for views in self.views or ():
            digest.update(repr(views.shape).encode())
            digest.update(np.ascontiguousarray(views).data)
        if self.allowed is not None:
            digest.update(np.ascontiguousarray(self.allowed).data)
        return digest.hexdigest()
