"""``predictions.npz``: logits, labels and indices of every evaluated split."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

from fashioncnn.data.npy import parse_npy
from fashioncnn.evaluation.metrics import Labels, Logits
from fashioncnn.files import write_atomic
from fashioncnn.reading import open_regular

MAX_BYTES = 2 << 30
"""Limit on all arrays; a million images of 256 classes need half of it."""
MAX_ARRAYS = 64
"""Limit on their number; each of two splits has four."""


@dataclass(frozen=True)
class SplitPredictions:
    """The predictions for one split.

    Attributes:
        logits: (n, classes) float32.
        labels: (n,) uint8.
        indices: (n,) int64, positions in the original split; None in files of version 0.1.
    """

    logits: Logits
    labels: Labels
    indices: NDArray[np.int64] | None = None


Predictions = dict[str, SplitPredictions]
"""By the name of the split."""


def save_predictions(path: Path, predictions: Predictions, identity: dict[str, str]) -> None:
    """Write predictions, atomically.

    Args:
        path: the file.
        predictions: by split.
        identity: ``model_sha256``, ``precision``, and ``<split>_sha256`` of the images.
    """
    arrays: dict[str, NDArray[np.generic]] = {k: np.array(v) for k, v in identity.items()}
    for split, of_split in predictions.items():
        arrays |= {f"{split}_logits": of_split.logits, f"{split}_labels": of_split.labels}
        if of_split.indices is not None:
            arrays[f"{split}_indices"] = of_split.indices
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def load_predictions(path: Path) -> tuple[Predictions, dict[str, str]]:
    """Return what `save_predictions` wrote; empty if the file is missing or damaged."""
    try:
        with open_regular(path) as file, ZipFile(file) as archive:
            content = _read_arrays(archive)
        splits = [k.removesuffix("_logits") for k in content if k.endswith("_logits")]
        predictions = {split: _of_split(content, split) for split in splits}
    except Exception:  # zipfile and numpy raise a dozen kinds of errors for damaged files
        return {}, {}
    return predictions, {k: str(v) for k, v in content.items() if v.ndim == 0}


def _read_arrays(archive: ZipFile) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a ``.npz`` file; nothing is allocated before their sizes are known.

    Raises:
        ValueError: there are too many values, or compressed ones, which `save_predictions` never
            writes: a small file could contain many gigabytes.
    """
    members = archive.infolist()
    if len(members) > MAX_ARRAYS or sum(member.file_size for member in members) > MAX_BYTES:
        raise ValueError("more or larger arrays than predictions of a million images have")
    if any(member.compress_type != ZIP_STORED for member in members):
        raise ValueError("compressed arrays")
    return {
        member.filename.removesuffix(".npy"): parse_npy(archive.read(member)) for member in members
    }


def _of_split(content: dict[str, NDArray[np.generic]], split: str) -> SplitPredictions:
    logits, labels = content[f"{split}_logits"], content[f"{split}_labels"]
    indices = content.get(f"{split}_indices")
    valid = (
        logits.dtype == np.float32
        and labels.dtype == np.uint8
        and logits.ndim == 2
        and labels.shape == logits.shape[:1]
        and bool(np.isfinite(logits).all())
        and (indices is None or (indices.dtype == np.int64 and indices.shape == labels.shape))
    )
    if not valid:
        raise ValueError(f"{split}: logits, labels and indices do not match")
    return SplitPredictions(logits, labels, indices)  # type: ignore[arg-type]
