"""The ONNX file of a model: names in its graph, and what its metadata say.

The file alone is a model. Its metadata are two JSON texts: the description that a model folder has
in ``config.json``, and a record of the export. They follow the graph at the end of the file, and
the record has the SHA-256 of everything before them, so that a changed byte is found. Reading them
needs no ``onnx`` package: ONNX Runtime returns the metadata as a map of strings.

The graph has one input, `IMAGES`, (n, size, size) uint8, or (n, size, size, 3) in color; n is
dynamic and the scaling of pixels is part of the graph. Its outputs are `LOGITS`, (n, classes)
float32, and for some networks `FEATURES`, (n, channels, rows, columns) float32; see
`ExportRecord.activation_weight`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from fashioncnn.artifacts.documents import parse_document
from fashioncnn.artifacts.model_folder import ModelDescription, parse_description
from fashioncnn.artifacts.onnx_metadata import find_metadata, is_metadata
from fashioncnn.checksum import ChecksumError, with_checksum
from fashioncnn.errors import ModelError
from fashioncnn.reading import CONFIG_BYTES, read_bytes, reason
from fashioncnn.settings import SCHEMA

IMAGES, LOGITS, FEATURES = "images", "logits", "features"
"""Names of the input and of the outputs."""
DESCRIPTION_KEY, EXPORT_KEY = "fashioncnn", "fashioncnn_export"
"""Keys of the metadata."""
GENERATED = "generated"
"""Name of the images that are drawn for a verification without data."""
MAX_ONNX_BYTES = (1 << 31) - 1
"""Limit on a file, that of the format (protobuf)."""
MAX_RECORD_BYTES = 16 << 20
"""Limit on the record of the export; 256 classes and 4096 channels need 6 MB."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Verification(BaseModel):
    """On which images the file was compared with PyTorch in fp32, and how it differed.

    The file was run with ONNX Runtime before it was written.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, extra="forbid")

    data: str
    """Name of the dataset; ``generated`` without one."""
    images: Annotated[int, Field(ge=1)]
    """Number of images (views) compared."""
    max_difference: Annotated[float, Field(ge=0)]
    """Largest absolute difference of a logit."""
    agreement: Fraction
    """Fraction of images with the same class."""
    accuracy: Fraction | None = None
    """Of the file on the validation split; only int8."""
    accuracy_fp32: Fraction | None = None
    """Of PyTorch in fp32 on the same images; only int8."""

    def __str__(self) -> str:
        """Return which images were compared, such as ``1,000 generated images``."""
        if self.data == GENERATED:
            return f"{self.images:,} generated images"
        return f"{self.images:,} images of {self.data}"


class ExportRecord(BaseModel):
    """How a file was exported."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, extra="forbid")

    schema_: int = Field(SCHEMA, alias="schema", ge=SCHEMA, le=SCHEMA)
    version: str
    """Of fashioncnn."""
    precision: Literal["fp32", "int8"]
    """In which the graph computes."""
    verification: Verification
    head_weight: str | None
    """`activation_weight` as base64 of float32 in little-endian order; None if there is none."""
    weights_sha256: Sha256
    """SHA-256 of the ``model.safetensors`` that was exported, as in the description."""
    graph_bytes: Annotated[int, Field(ge=1, le=MAX_ONNX_BYTES)]
    """Length of the file before its metadata."""
    graph_sha256: Sha256
    """SHA-256 of these bytes."""

    def activation_weight(self, classes: int) -> NDArray[np.float32] | None:
        """Return the weight of each feature in class activation maps, (classes, channels).

        It exists where the logits are a linear function of the mean of the features over all
        positions. The map of class k, ``relu(sum_c weight[k, c] * features[:, c])`` divided by the
        number of positions, is then Grad-CAM's. The graph has the output `FEATURES` if and only if
        this is not None.

        Args:
            classes: number of logits.

        Raises:
            ValueError: the stored weight is damaged.
        """
        if self.head_weight is None:
            return None
        try:
            content = base64.b64decode(self.head_weight, validate=True)
        except binascii.Error as error:
            raise ValueError(f"head_weight: not base64 ({error})") from None
        if not content or len(content) % (4 * classes):
            raise ValueError(f"head_weight: {len(content)} bytes for {classes} classes")
        weight = np.frombuffer(content, "<f4").astype(np.float32).reshape(classes, -1)
        if not np.isfinite(weight).all():
            raise ValueError("head_weight: contains values that are not finite")
        return weight

    def to_json(self) -> dict[str, Any]:
        """Return the document, without checksum."""
        return self.model_dump(mode="json", by_alias=True)


def encode_weight(weight: NDArray[np.float32] | None) -> str | None:
    """Return `ExportRecord.head_weight` for a weight (classes, channels) float32."""
    return None if weight is None else base64.b64encode(weight.astype("<f4").tobytes()).decode()


def encode_metadata(description: ModelDescription, record: ExportRecord) -> dict[str, str]:
    """Return the metadata of a file."""
    documents = {DESCRIPTION_KEY: description.to_json(), EXPORT_KEY: record.to_json()}
    return {key: json.dumps(with_checksum(value)) for key, value in documents.items()}


def parse_metadata(
    metadata: Mapping[str, str], source: str | Path
) -> tuple[ModelDescription, ExportRecord]:
    """Return the validated description and export record of a file.

    Args:
        metadata: of the file, such as ``session.get_modelmeta().custom_metadata_map``.
        source: name of the file, for messages.

    Raises:
        ModelError: the file is not one of this package, or its metadata are damaged.
    """
    missing = {DESCRIPTION_KEY, EXPORT_KEY} - metadata.keys()
    if missing:
        raise ModelError(
            f"{source}: not a model of fashioncnn (its metadata have no '{min(missing)}')"
        )
    for key, limit in ((DESCRIPTION_KEY, CONFIG_BYTES), (EXPORT_KEY, MAX_RECORD_BYTES)):
        if len(metadata[key]) > limit:
            raise ModelError(f"{source}: metadata '{key}' are over the limit of {limit >> 20} MiB")
    description = parse_description(metadata[DESCRIPTION_KEY].encode(), source)
    record = _parse_record(metadata[EXPORT_KEY].encode(), source, len(description.labels))
    if record.weights_sha256 != description.weights_sha256:
        raise ModelError(f"{source}: damaged (weights_sha256 differs in its two documents)")
    return description, record


def _parse_record(content: bytes, source: str | Path, classes: int) -> ExportRecord:
    try:
        record = parse_document(content, ExportRecord)
        record.activation_weight(classes)
    except ChecksumError as error:
        raise ModelError(f"{source}: {error}") from None
    except ValueError as error:
        raise ModelError(f"{source}: invalid export record ({error})") from None
    return record


def read_onnx(path: Path) -> bytes:
    """Return the content of an ONNX file, which is not verified yet.

    Raises:
        ModelError: it cannot be read, is not a regular file, or is larger than `MAX_ONNX_BYTES`.
    """
    try:
        return read_bytes(path, MAX_ONNX_BYTES)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({reason(error)})") from None


def verify_graph(content: bytes, record: ExportRecord, source: str | Path) -> None:
    """Raise `ModelError` unless the graph is the one that was exported.

    Args:
        content: of the file.
        record: from its metadata.
        source: name of the file, for messages.
    """
    graph = memoryview(content)[: record.graph_bytes]
    if len(content) < record.graph_bytes or hashlib.sha256(graph).hexdigest() != (
        record.graph_sha256
    ):
        raise ModelError(f"{source}: damaged, or edited after the export (SHA-256 of its graph)")


def _verify_end(content: bytes, record: ExportRecord, source: str | Path) -> None:
    """Raise `ModelError` unless only metadata follow the graph.

    A reader merges a second graph into the first one.
    """
    try:
        is_end = is_metadata(content[record.graph_bytes :])
    except ValueError:
        is_end = False
    if not is_end:
        raise ModelError(f"{source}: damaged, or edited after the export (more than metadata)")


def read_onnx_model(path: Path) -> tuple[bytes, ModelDescription, ExportRecord]:
    """Return content, description and export record of an ONNX file.

    Raises:
        ModelError: it cannot be read, is not a model of this package, or is damaged.
    """
    content = read_onnx(path)
    try:
        metadata = find_metadata(content)
    except ValueError as error:
        raise ModelError(f"{path}: not an ONNX file, or damaged ({error})") from None
    description, record = parse_metadata(metadata, path)
    verify_graph(content, record, path)
    _verify_end(content, record, path)
    return content, description, record
