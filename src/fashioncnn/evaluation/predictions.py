"""``predictions.npz``: the logits of every judged split, and whose they are."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fashioncnn.evaluation.metrics import Labels, Logits
from fashioncnn.files import write_atomic

Predictions = dict[str, tuple[Logits, Labels]]
"""(n, classes) float32 logits and (n,) uint8 labels, by split."""


def save_predictions(path: Path, predictions: Predictions, identity: dict[str, str]) -> None:
    """Write logits and labels, replacing the file as a whole.

    Args:
        path: the file.
        predictions: by split.
        identity: ``model_sha256``, ``precision``, and ``<split>_sha256`` of the images.
    """
    arrays: dict[str, NDArray[np.generic]] = {k: np.array(v) for k, v in identity.items()}
    for split, (logits, labels) in predictions.items():
        arrays |= {f"{split}_logits": logits, f"{split}_labels": labels}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def load_predictions(path: Path) -> tuple[Predictions, dict[str, str]]:
    """Return what `save_predictions` wrote; nothing where the file is missing or damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            content = dict(arrays)
        splits = [k.removesuffix("_logits") for k in content if k.endswith("_logits")]
        predictions = {s: (content[f"{s}_logits"], content[f"{s}_labels"]) for s in splits}
        if not all(_belong_together(*pair) for pair in predictions.values()):
            raise ValueError("logits and labels do not belong together")
    except Exception:  # damaged in any way: zipfile and numpy raise a dozen kinds of errors
        return {}, {}
    return predictions, {k: str(v) for k, v in content.items() if v.ndim == 0}


def _belong_together(logits: NDArray[np.generic], labels: NDArray[np.generic]) -> bool:
    return (
        logits.dtype == np.float32
        and labels.dtype == np.uint8
        and logits.ndim == 2
        and labels.shape == logits.shape[:1]
        and bool(np.isfinite(logits).all())
    )
