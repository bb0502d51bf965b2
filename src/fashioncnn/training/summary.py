"""What a training came to, in a few figures: its last, and the best of every curve it drew."""

from __future__ import annotations

from typing import Any

from fashioncnn.training.callbacks import Record

SPLIT_NAMES = {"val": "validation", "test": "test"}
"""Splits by the short names of history.jsonl."""


def summarize(history: list[Record]) -> dict[str, Any]:
    """Return the finals, and for each drawn curve its best accuracy and lowest loss."""
    last = history[-1]
    summary: dict[str, Any] = {"final_train_loss": last["train_loss"]}
    for short, name in SPLIT_NAMES.items():
        if last[f"{short}_loss"] is None:
            continue
        best = max(history, key=lambda record: record[f"{short}_accuracy"])
        lowest = min(history, key=lambda record: record[f"{short}_loss"])
        summary |= {
            f"best_{name}_accuracy": _at(best, f"{short}_accuracy"),
            f"lowest_{name}_loss": _at(lowest, f"{short}_loss"),
            f"final_{name}_accuracy": last[f"{short}_accuracy"],
            f"final_{name}_loss": last[f"{short}_loss"],
        }
    return summary


def _at(record: Record, key: str) -> dict[str, Any]:
    return {"value": record[key], "epoch": record["epoch"]}
