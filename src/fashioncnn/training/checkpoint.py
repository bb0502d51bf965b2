"""Checkpoints: tensors as safetensors, and a manifest with the SHA-256 of both. No pickle.

A checkpoint counts once its manifest exists and both hashes match, so that after a crash at any
moment the previous one is used. The last two are kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from fashioncnn.checksum import json_sha256
from fashioncnn.errors import RunError
from fashioncnn.files import make_folder, write_atomic, write_json
from fashioncnn.migration import resuming_error
from fashioncnn.models.trained_model import serialize
from fashioncnn.reading import HISTORY_BYTES, read_bytes
from fashioncnn.settings import SCHEMA

KEPT = 2
MANIFEST_BYTES = HISTORY_BYTES
"""Limit on a manifest, which contains the history."""
TENSORS_BYTES = 12 << 30
"""Limit on the tensors: six copies of the largest weights (optimizer state, EMA, best weights)."""
Notify = Callable[[str], None]
"""Called with a one-line message."""


def ignore(message: str) -> None:
    """Ignore a message."""


def save_checkpoint(
    folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Write a checkpoint and remove all but the last two.

    Args:
        folder: created if missing.
        step: completed optimizer steps; names the checkpoint.
        tensors: by name.
        state: JSON types.
    """
    make_folder(folder)
    content = serialize({name: t.detach().cpu() for name, t in tensors.items()})
    weights = folder / f"{checkpoint_name(step)}.safetensors"
    write_atomic(weights, content)
    manifest = {
        "schema": SCHEMA,
        "step": step,
        "sha256": hashlib.sha256(content).hexdigest(),
        "state": state,
    }
    write_json(weights.with_suffix(".json"), {**manifest, "manifest_sha256": json_sha256(manifest)})
    for old in sorted(folder.glob("step-*.json"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def load_checkpoint(
    folder: Path, notify: Notify = ignore
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return tensors and state of the newest intact checkpoint; None if there is none yet.

    Args:
        folder: of checkpoints; may be missing.
        notify: called with a message about each newer checkpoint that is damaged.

    Raises:
        OtherVersionError: they were written by version 0.1.
        RunError: there are checkpoints, but all are damaged.
    """
    paths = sorted(folder.glob("step-*.json"), reverse=True)
    manifests = [_read_manifest(path) for path in paths]
    for position, (path, manifest) in enumerate(zip(paths, manifests, strict=True)):
        tensors = _intact_tensors(path, manifest)
        if tensors is not None:
            for damaged in paths[:position]:
                notify(f"{damaged.with_suffix('')}: damaged; resuming from {path.stem} instead")
            return tensors, manifest["state"]
    if any(manifest.get("schema") == 1 for manifest in manifests):
        raise resuming_error(folder.parent)
    if paths:
        raise RunError(
            f"{folder}: none of the {len(paths)} checkpoints is intact; restore one from a backup, "
            "or start a new run"
        )
    return None


def _read_manifest(path: Path) -> dict[str, Any]:
    """Return the content of a manifest; empty if it is damaged."""
    try:
        manifest = json.loads(read_bytes(path, MANIFEST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return manifest if isinstance(manifest, dict) else {}


def _read_tensors(path: Path) -> bytes:
    """Return the content of a file; empty if it cannot be read."""
    try:
        return read_bytes(path, TENSORS_BYTES)
    except OSError:
        return b""


def _intact_tensors(path: Path, manifest: dict[str, Any]) -> dict[str, Tensor] | None:
    """Return the tensors of the checkpoint whose manifest is at `path`; None if it is damaged."""
    content = {key: value for key, value in manifest.items() if key != "manifest_sha256"}
    if (
        manifest.get("schema") != SCHEMA
        or manifest.get("manifest_sha256") != json_sha256(content)
        or path.stem != checkpoint_name(manifest["step"])
        or not isinstance(manifest.get("state"), dict)
    ):
        return None
    tensors = _read_tensors(path.with_suffix(".safetensors"))
    if manifest.get("sha256") != hashlib.sha256(tensors).hexdigest():
        return None
    try:
        return load(tensors)
    except SafetensorError:
        return None


def checkpoint_name(step: int) -> str:
    """Return the name of a checkpoint's files, without suffix."""
    return f"step-{step:08d}"


def discard_checkpoints_after(folder: Path, step: int) -> None:
    """Remove damaged checkpoints after `step`, and incomplete files of a crash."""
    if not folder.exists():
        return
    kept = {path.stem for path in folder.glob("step-*.json") if path.stem <= checkpoint_name(step)}
    for path in folder.iterdir():
        if path.stem not in kept:
            path.unlink()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of the optimizer as ``optimizer.<parameter>.<name>``."""
    return {
        f"optimizer.{index}.{name}": value
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore what `optimizer_tensors` returned."""
    parameters: list[nn.Parameter] = [p for g in optimizer.param_groups for p in g["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind != "optimizer":
            continue
        index, _, name = rest.partition(".")
        parameter = parameters[int(index)]
        restored = value.clone()
        if value.dim() > 0:
            # Fused kernels walk memory, so the state needs the memory layout of its parameter.
            restored = torch.empty_like(parameter).copy_(value.view_as(parameter))
        state.setdefault(int(index), {})[name] = restored
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors with `prefix` before each name."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
