"""Find images that occur more than once, within a split or in two splits.

Exact duplicates have the same pixels. Near-duplicates are similar: the Pearson correlation of their
pixels, over all channels, is at least a threshold, so that overall brightness and contrast do not
matter. Images of more than `MAX_SIDE` pixels are averaged down to that side first. An image without
contrast has no correlation; it can only be an exact duplicate.

A product of all images with all others would take 4 TFLOP for Fashion-MNIST. Instead, each image is
projected on a few directions, and the length of the rest is one more coordinate. The product of
two such vectors is at least the correlation (Cauchy-Schwarz), so that only the few pairs for which
it reaches the threshold are compared pixel by pixel, and none is missed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fashioncnn.data.dataset import Split
from fashioncnn.errors import UsageError

SIMILARITY = 0.99
"""Default threshold: on Fashion-MNIST, above it most pairs show the same garment."""
MIN_SIMILARITY = 0.9
"""Lower thresholds would compare most images of a class with each other."""
MAX_SIDE = 32
MAX_LISTED = 1000
"""Pairs that are listed for two splits."""
BLOCK = 2048
"""Images on either side of a product: 16 MiB of float32."""
CHUNK = 4096
"""Pairs that are compared pixel by pixel at a time."""
DIRECTIONS, SAMPLE = 64, 1000
"""Of the projection: their number, and the images that they are fitted to."""
ROUNDING = 1e-4
"""By which float32 may underestimate the product of two vectors of length 1."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """Two similar images.

    Attributes:
        first: index of the image in the first split, as in `Split.indices`.
        second: index of the image in the second split.
        similarity: correlation of their pixels, at most 1.
        same_label: whether they have the same label.
    """

    first: int
    second: int
    similarity: float
    same_label: bool


@dataclass(frozen=True)
class Duplicates:
    """The duplicates of two splits, or within one.

    Attributes:
        first: name of a split.
        second: name of another split, or the same.
        threshold: correlation from which images are near-duplicates.
        exact: (n,) bool, whether each image of the second split has an exact duplicate in the
            first; within a split, another image.
        near: (n,) bool, likewise with exact and near-duplicates.
        exact_pairs: number of pairs with the same pixels.
        near_pairs: number of pairs with at least the threshold, or the same pixels.
        other_label: number of the `near_pairs` whose labels differ.
        pairs: the most similar of them, at most `MAX_LISTED`.
    """

    first: str
    second: str
    threshold: float
    exact: NDArray[np.bool_]
    near: NDArray[np.bool_]
    exact_pairs: int
    near_pairs: int
    other_label: int
    pairs: tuple[Pair, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all numbers, and the listed pairs."""
        return {
            "splits": [self.first, self.second],
            "similarity": self.threshold,
            "exact_images": int(self.exact.sum()),
            "exact_pairs": self.exact_pairs,
            "near_images": int(self.near.sum()),
            "near_pairs": self.near_pairs,
            "near_pairs_with_other_label": self.other_label,
            "listed": [
                {
                    "indices": [pair.first, pair.second],
                    "similarity": round(pair.similarity, 6),
                    "same_label": pair.same_label,
                }
                for pair in self.pairs
            ],
        }


def find_duplicates(splits: dict[str, Split], threshold: float = SIMILARITY) -> list[Duplicates]:
    """Return the duplicates within each split, and in each two of them.

    Args:
        splits: by name; of an image with several views the first is compared.
        threshold: correlation from which images are near-duplicates.

    Raises:
        UsageError: the threshold is not from `MIN_SIMILARITY` to 1.
    """
    if not MIN_SIMILARITY <= threshold <= 1:
        raise UsageError(f"similarity {threshold}: should be from {MIN_SIMILARITY} to 1")
    images = np.concatenate([_flatten(split.images) for split in splits.values()])
    starts = np.cumsum([0, *(len(split) for split in splits.values())])
    spans = {name: range(*starts[i : i + 2]) for i, name in enumerate(splits)}
    vectors = _projected(images)
    couples = itertools.combinations_with_replacement(splits, 2)
    return [_compare(images, vectors, splits, spans, couple, threshold) for couple in couples]


def _compare(
    images: NDArray[np.uint8],
    vectors: Floats,
    splits: dict[str, Split],
    spans: dict[str, range],
    couple: tuple[str, str],
    threshold: float,
) -> Duplicates:
    """Return the duplicates of two splits, which are `spans` of `images`."""
    first, second = (splits[name] for name in couple)
    within = couple[0] == couple[1]
    exact, near = np.zeros(len(second), bool), np.zeros(len(second), bool)
    exact_pairs = near_pairs = other_label = 0
    listed: list[Pair] = []
    origins = [spans[name].start for name in couple]
    for candidates in _candidates(vectors, spans[couple[0]], spans[couple[1]], threshold):
        similarity, same = _similarity(images, *candidates)
        found = (similarity >= threshold) | same
        similarity, same = similarity[found], same[found]
        a, b = (p[found] - origin for p, origin in zip(candidates, origins, strict=True))
        near[b], exact[b[same]] = True, True
        if within:
            near[a], exact[a[same]] = True, True
        same_label = first.labels[a] == second.labels[b]
        exact_pairs, near_pairs = exact_pairs + int(same.sum()), near_pairs + len(a)
        other_label += int((~same_label).sum())
        values = zip(first.indices[a], second.indices[b], similarity, same_label, strict=True)
        listed += [Pair(int(i), int(j), float(s), bool(label)) for i, j, s, label in values]
        listed = sorted(listed, key=lambda pair: -pair.similarity)[:MAX_LISTED]
    return Duplicates(
        *couple, threshold, exact, near, exact_pairs, near_pairs, other_label, tuple(listed)
    )


def _flatten(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (n, pixels) uint8 of images that are averaged down to `MAX_SIDE` at most."""
    if max(images.shape[1:3]) > MAX_SIDE:
        side = (MAX_SIDE, MAX_SIDE)
        small = (Image.fromarray(image).resize(side, Image.Resampling.BOX) for image in images)
        images = np.stack([np.asarray(image) for image in small]) if len(images) else images
    return images.reshape(len(images), -1)


def _normalized(images: NDArray[np.uint8]) -> Floats:
    """Return images with mean 0 and length 1; those without contrast are 0. (n, pixels)."""
    values = images.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", values, values))[:, None]
    constant = (images == images[:, :1]).all(axis=1)[:, None]
    return np.where(constant, np.float32(0), values / np.where(lengths > 0, lengths, 1))


def _projected(images: NDArray[np.uint8]) -> Floats:
    """Return (n, directions + 1) float32 vectors whose products are at least the correlations.

    The directions are the principal components of a sample. The last coordinate is the length of
    the rest of an image; it is 1 for images without contrast, which are compared if both are.
    """
    step = max(1, len(images) // SAMPLE)
    sample = _normalized(images[::step][:SAMPLE])
    directions = np.linalg.svd(sample, full_matrices=False)[2][:DIRECTIONS]
    vectors = np.empty((len(images), len(directions) + 1), np.float32)
    for start in range(0, len(images), BLOCK):
        values = _normalized(images[start : start + BLOCK])
        projected = values @ directions.T
        rest = 1 - np.einsum("ij,ij->i", projected, projected)
        vectors[start : start + BLOCK, :-1] = projected
        vectors[start : start + BLOCK, -1] = np.sqrt(np.maximum(rest, 0))
    return vectors


def _candidates(
    vectors: Floats, first: range, second: range, threshold: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the positions of pairs whose correlation can be `threshold`, at most `CHUNK` each."""
    limit = threshold - ROUNDING
    for i in range(first.start, first.stop, BLOCK):
        for j in range(second.start, second.stop, BLOCK):
            if first == second and j < i:
                continue
            rows, columns = (
                slice(i, min(i + BLOCK, first.stop)),
                slice(j, min(j + BLOCK, second.stop)),
            )
            possible = vectors[rows] @ vectors[columns].T >= limit
            if first == second and i == j:
                possible = np.triu(possible, 1)
            a, b = np.nonzero(possible)
            for start in range(0, len(a), CHUNK):
                yield a[start : start + CHUNK] + i, b[start : start + CHUNK] + j


def _similarity(
    images: NDArray[np.uint8], a: NDArray[np.int64], b: NDArray[np.int64]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the correlations of pairs, and whether their pixels are the same."""
    left, right = images[a], images[b]
    similarity = np.einsum("ij,ij->i", _normalized(left), _normalized(right))
    same = (left == right).all(axis=1)
    return np.where(same, np.float32(1), np.minimum(similarity, 1)), same
