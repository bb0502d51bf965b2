"""The model folder: ``config.json``, ``model.safetensors`` and a model card ``README.md``.

It has the layout of a model on the Hugging Face Hub and contains no pickle.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import Field

from fashioncnn.artifacts.documents import parse_document
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.checksum import (
    CHECKSUM,
    ChecksumError,
    json_sha256,
    with_checksum,
    without_checksum,
)
from fashioncnn.errors import ModelError, UsageError
from fashioncnn.files import (
    is_temporary,
    make_folder,
    remove_temporary_files,
    write_atomic,
    write_json,
)
from fashioncnn.migration import migrate_model_description
from fashioncnn.reading import (
    CONFIG_BYTES,
    is_url,
    missing,
    read_bytes,
    reason,
)
from fashioncnn.runs import reject_group
from fashioncnn.settings import SCHEMA, CustomConfig

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = "README.md"
ONNX, ONNX_SUFFIX = "model.onnx", ".onnx"
MODEL_FILES = frozenset({WEIGHTS, CONFIG, CARD, ONNX})
OPTIONAL_KEYS = ("predicts_names",)
"""Keys of ``config.json`` that are only written with a value, as they were added later."""
MAX_WEIGHTS_BYTES = 2 << 30
"""Limit on model.safetensors, 500 million values in fp32, whatever the architecture declares."""
MAX_FEATURE_VALUES = 1 << 28
"""Limit on the values of one feature map for one image, 1 GiB in fp32; 4096 channels at 256×256
pixels, the maximum of the settings, reach it."""


KEYS_OF_0_2_0 = frozenset(
    {
        *("schema", "architecture", "labels", "preprocessing", "dataset", "temperature"),
        *("abstain_below", "ood_detector", "tta", "parameters", "multiply_adds"),
        "weights_sha256",
    }
)
"""Keys of a ``config.json`` that version 0.2.0 wrote, without a checksum."""


class ModelDescription(ModelSpec):
    """The content of ``config.json``."""

    schema_: int = Field(SCHEMA, alias="schema", ge=SCHEMA, le=SCHEMA)
    parameters: int = Field(0, ge=0)
    """Trainable parameters."""
    multiply_adds: int | None = Field(0, ge=0)
    """Multiply-add operations of convolutions and linear layers per view; None if unknown."""
    weights_sha256: str
    """SHA-256 of ``model.safetensors``."""

    @property
    def spec(self) -> ModelSpec:
        """The specification alone."""
        return ModelSpec(**{name: getattr(self, name) for name in ModelSpec.model_fields})

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``config.json``."""
        unset = {name for name in OPTIONAL_KEYS if not getattr(self, name)}
        values = self.model_dump(mode="json", by_alias=True, exclude=unset)
        if values["preprocessing"]["channels"] == 1:  # as written before there were color images
            del values["preprocessing"]["channels"]
        detector = values["ood_detector"]
        if detector is not None and not detector["probability_slope"]:  # likewise
            del detector["probability_slope"]
        return {"schema": values.pop("schema"), **values}

    @property
    def sha256(self) -> str:
        """SHA-256 that identifies weights and description together."""
        return json_sha256(self.to_json())


def write_model_folder(
    folder: Path,
    weights: bytes | None,
    description: ModelDescription,
    card: str,
    onnx: bytes | None = None,
) -> None:
    """Write a model folder; existing files are replaced, each atomically.

    Args:
        folder: created if missing.
        weights: content of ``model.safetensors``; None removes the file.
        description: of these weights.
        card: Markdown text of the model card.
        onnx: content of ``model.onnx``, exported from these weights; None removes the file.
    """
    make_folder(folder)
    remove_temporary_files(folder)
    for name, content in ((ONNX, onnx), (WEIGHTS, weights)):
        if content is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write_atomic(folder / name, content)
    write_json(folder / CONFIG, with_checksum(description.to_json()))
    write_atomic(folder / CARD, card.encode())


def read_description(model: Path) -> ModelDescription:
    """Return the validated description of a model.

    Args:
        model: a model folder, whose ``config.json`` is read, or an ONNX file; see `find_model`.

    Raises:
        ModelError: it cannot be read, or is not valid.
    """
    if is_onnx_file(model):
        from fashioncnn.artifacts.onnx_file import read_onnx_model  # which imports this module

        return read_onnx_model(model)[1]
    path = model / CONFIG
    try:
        content = read_bytes(path, CONFIG_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({reason(error)})") from None
    return parse_description(content, path)


def parse_description(content: bytes, source: str | Path) -> ModelDescription:
    """Return the validated description in a JSON text, the content of a ``config.json``.

    Args:
        content: JSON, with a checksum.
        source: where it is from, for messages.

    Raises:
        ModelError: it is not valid.
    """
    try:
        description = parse_document(content, ModelDescription, _verified)
        _require_bounded_features(description)
    except ChecksumError as error:
        raise ModelError(f"{source}: {error}") from None
    except (ModelError, ValueError) as error:
        raise ModelError(f"{source}: invalid ({error})") from None
    return description


def _verified(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a ``config.json`` in schema 2; before 0.3 it had no checksum.

    Raises:
        ChecksumError: the checksum is missing or does not match.
    """
    if values.get("schema") != 1:
        return without_checksum(values, KEYS_OF_0_2_0)
    return migrate_model_description(without_checksum(values) if CHECKSUM in values else values)


def _require_bounded_features(description: ModelDescription) -> None:
    """Raise `ModelError` if one feature map of the network needs more than 1 GiB."""
    if isinstance(description.architecture, CustomConfig):  # built by the caller's own code
        return
    for stage, channels in enumerate(description.architecture.channels):
        side = max(1, description.preprocessing.image_size >> stage)
        if channels * side**2 > MAX_FEATURE_VALUES:
            raise ModelError(
                f"architecture.channels: {channels} channels of {side}×{side} values are over the "
                "limit of 1 GiB for a feature map"
            )


def read_weights(folder: Path, sha256: str, limit: int) -> bytes:
    """Return the content of ``model.safetensors``.

    Args:
        folder: of the model.
        sha256: expected SHA-256.
        limit: in bytes, for the architecture in ``config.json``.

    Raises:
        ModelError: it cannot be read, is larger than `limit`, or its SHA-256 is not `sha256`.
    """
    path = folder / WEIGHTS
    try:
        content = read_bytes(path, limit)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({reason(error)})") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(f"{path}: damaged, or not the weights of its config.json (SHA-256)")
    return content


def bundled_models() -> dict[str, Path]:
    """Return the model folders that are part of the package, by name."""
    folder = Path(__file__).parents[1] / "weights"
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{CONFIG}"))}


def is_onnx_file(path: Path) -> bool:
    """Return whether a path names an ONNX file; it need not exist."""
    return path.suffix.lower() == ONNX_SUFFIX and not path.is_dir()


def find_onnx(model: Path) -> Path | None:
    """Return the ONNX file of a model found by `find_model`; None if it has none."""
    if is_onnx_file(model):
        return model
    return model / ONNX if (model / ONNX).exists() else None


def find_model(path: Path) -> Path:
    """Return the model folder or ONNX file of a model.

    A folder in the current directory takes precedence over a bundled model of the same name.

    Args:
        path: a run folder, a model folder, an ONNX file, or the name of a bundled model.

    Returns:
        A folder with a ``config.json``, or an ONNX file, also that of a folder with nothing else.

    Raises:
        UsageError: there is none.
    """
    for folder in (path, path / "model"):
        if (folder / CONFIG).exists():
            return folder
        if (folder / ONNX).exists():
            return folder / ONNX
    if (path / "config.toml").exists():
        raise UsageError(f"{path}: the run has no model yet; finish it with --resume {path}")
    bundled = bundled_models()
    if str(path) in bundled:
        return bundled[str(path)]
    if not path.exists():
        if is_url(path):
            raise UsageError(missing(path))
        names = f", and no bundled model of that name ({', '.join(bundled)})" if bundled else ""
        what = "file" if is_onnx_file(path) else "run or model folder"
        raise UsageError(f"{path}: no such {what}{names}")
    if is_onnx_file(path):
        return path
    if path.is_file():
        raise UsageError(f"{path}: not an ONNX file (its name does not end in {ONNX_SUFFIX})")
    reject_group(path)
    raise UsageError(f"{path}: neither a run nor a model folder (it has no {CONFIG})")


def require_model_folder(folder: Path) -> None:
    """Raise `UsageError` unless a folder contains a model of this package and nothing else.

    Anything else in the folder was not written by `write_model_folder`, and may be a user's.
    """
    try:
        others = {path.name for path in folder.iterdir() if not is_temporary(path)} - MODEL_FILES
        if not others:
            read_description(folder)
            return
    except (OSError, ModelError):
        others = set()
    found = f" (it contains {min(others)})" if others else ""
    raise UsageError(
        f"{folder}: exists and is not a model folder{found}; name a new folder to save into"
    )


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the class names of the model at `path`, by label.

    Raises:
        UsageError: there is no model at `path`.
        ModelError: its description is damaged.
    """
    return read_description(find_model(path)).labels
