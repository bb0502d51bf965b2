"""Summary of a training history: final values, and the best of each curve."""

from __future__ import annotations

from typing import Any

from fashioncnn.training.state import Record

SPLIT_NAMES = {"val": "validation", "test": "test"}
"""Names of the splits by the prefix of their keys in history.jsonl."""


def summarize(history: list[Record]) -> dict[str, Any]:
    """Return final values, and best accuracy and lowest loss of each recorded curve."""
    last = history[-1]
    summary: dict[str, Any] = {"final_train_loss": last["train_loss"]}
    for short, name in SPLIT_NAMES.items():
        if last[f"{short}_loss"] is None:
            continue
        best = max(history, key=lambda record: record[f"{short}_accuracy"])
        lowest = min(history, key=lambda record: record[f"{short}_loss"])
        summary |= {
            f"best_{name}_accuracy": _at_epoch(best, f"{short}_accuracy"),
            f"lowest_{name}_loss": _at_epoch(lowest, f"{short}_loss"),
            f"final_{name}_accuracy": last[f"{short}_accuracy"],
            f"final_{name}_loss": last[f"{short}_loss"],
        }
    return summary


def epochs_without_improvement(history: list[Record], select_by: str) -> int:
    """Return the number of epochs since the best validation epoch; 0 if it is the last one.

    Args:
        history: with a validation split; of equal epochs, the first one is the best.
        select_by: ``loss`` or ``accuracy``.
    """
    scores = [score(record, select_by) for record in history]
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0


def score(record: Record, select_by: str) -> float:
    """Return the validation metric that epochs are compared by; higher is better.

    Args:
        record: of an epoch with a validation split.
        select_by: ``loss`` or ``accuracy``.
    """
    value: float = -record["val_loss"] if select_by == "loss" else record["val_accuracy"]
    return value


def _at_epoch(record: Record, key: str) -> dict[str, Any]:
    return {"value": record[key], "epoch": record["epoch"]}
