"""Checkpoints: tensors in safetensors, then a manifest with their SHA-256. No pickle.

A checkpoint counts only once its manifest is there and its hash is right, so a crash at any
moment leaves the one before it in force. The last two are kept.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from fashioncnn.errors import RunError
from fashioncnn.files import write_atomic, write_json

KEPT = 2


def save_checkpoint(
    folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Write a checkpoint and remove all but the last two.

    Args:
        folder: made where it is missing.
        step: optimiser steps done; names the checkpoint.
        tensors: by name.
        state: JSON types.
    """
    folder.mkdir(exist_ok=True)
    content = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    weights = folder / f"step-{step:08d}.safetensors"
    write_atomic(weights, content)
    manifest = {
        "schema": 1,
        "step": step,
        "sha256": hashlib.sha256(content).hexdigest(),
        "state": state,
    }
    write_json(weights.with_suffix(".json"), manifest)
    for old in sorted(folder.glob("step-*.json"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return tensors and state of the newest intact checkpoint; None where there is none yet.

    Raises:
        RunError: there are checkpoints, but each of them is damaged.
    """
    manifests = sorted(folder.glob("step-*.json"), reverse=True)
    for path in manifests:
        try:
            manifest = json.loads(path.read_bytes())
            content = path.with_suffix(".safetensors").read_bytes()
            digest, state = manifest["sha256"], manifest["state"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if hashlib.sha256(content).hexdigest() == digest:
            return load(content), state
    if manifests:
        raise RunError(f"{folder}: none of the {len(manifests)} checkpoints is intact")
    return None


def discard_checkpoints_after(folder: Path, step: int) -> None:
    """Remove damaged checkpoints beyond `step`, and what a crash left half-written."""
    if not folder.exists():
        return
    kept = {path.stem for path in folder.glob("step-*.json") if path.stem <= f"step-{step:08d}"}
    for path in folder.iterdir():
        if path.stem not in kept:
            path.unlink()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as ``optimizer.<parameter>.<name>``."""
    return {
        f"optimizer.{index}.{name}": value
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned."""
    parameters: list[nn.Parameter] = [p for g in optimizer.param_groups for p in g["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind != "optimizer":
            continue
        index, _, name = rest.partition(".")
        parameter = parameters[int(index)]
        value = value.clone()  # noqa: PLW2901
        if value.dim() > 0:
            # Fused kernels walk memory, so the state must be laid out like its parameter. (In
            # version 0.1.0 a `FlattenLinear` was a `torch.nn.Linear`: the same values, flat.)
            value = torch.empty_like(parameter).copy_(value.view_as(parameter))  # noqa: PLW2901
        state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors under names that begin with `prefix`."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def unprefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return those tensors whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
