"""``predictions.npz``: logits, labels and indices of every evaluated split."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fashioncnn.evaluation.metrics import Labels, Logits
from fashioncnn.files import write_atomic


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
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            content = dict(arrays)
        splits = [k.removesuffix("_logits") for k in content if k.endswith("_logits")]
        predictions = {split: _of_split(content, split) for split in splits}
    except Exception:  # zipfile and numpy raise a dozen kinds of errors for damaged files
        return {}, {}
    return predictions, {k: str(v) for k, v in content.items() if v.ndim == 0}


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
