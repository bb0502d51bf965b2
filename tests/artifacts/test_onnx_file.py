"""Metadata of ONNX files: what is written, what is read, and what is rejected."""

import hashlib
import json

import numpy as np
import pytest

from fashioncnn.artifacts.onnx_file import (
    DESCRIPTION_KEY,
    EXPORT_KEY,
    ExportRecord,
    Verification,
    encode_metadata,
    encode_weight,
    parse_metadata,
    read_onnx,
    verify_graph,
)
from fashioncnn.errors import ModelError

GRAPH = b"the bytes of a graph"
VERIFICATION = Verification(data="generated", images=1000, max_difference=1e-5, agreement=1.0)
WEIGHT = np.arange(6, dtype=np.float32).reshape(3, 2) / 7


@pytest.fixture
def record(description):
    return ExportRecord(
        version="1.2.3",
        precision="fp32",
        verification=VERIFICATION,
        head_weight=encode_weight(WEIGHT),
        weights_sha256=description.weights_sha256,
        graph_bytes=len(GRAPH),
        graph_sha256=hashlib.sha256(GRAPH).hexdigest(),
    )


def changed(metadata, key, **values):
    """Return the metadata with a document that was edited on purpose."""
    document = {**json.loads(metadata[key]), "checksum": None, **values}
    return {**metadata, key: json.dumps(document)}


def test_metadata_are_read_as_written(description, record):
    metadata = encode_metadata(description, record)
    assert parse_metadata(metadata, "model.onnx") == (description, record)
    np.testing.assert_array_equal(record.activation_weight(3), WEIGHT)
    assert json.loads(metadata[EXPORT_KEY])["schema"] == 2


def test_record_without_activation_maps(description, record):
    plain = record.model_copy(update={"head_weight": encode_weight(None)})
    _, read = parse_metadata(encode_metadata(description, plain), "model.onnx")
    assert read.activation_weight(3) is None


@pytest.mark.parametrize("key", [DESCRIPTION_KEY, EXPORT_KEY])
def test_missing_document_is_reported(description, record, key):
    metadata = encode_metadata(description, record)
    del metadata[key]
    with pytest.raises(ModelError, match=f"^other.onnx: not a model of .*'{key}'"):
        parse_metadata(metadata, "other.onnx")


@pytest.mark.parametrize("key", [DESCRIPTION_KEY, EXPORT_KEY])
def test_every_changed_character_is_found(description, record, key):
    metadata = encode_metadata(description, record)
    text = metadata[key]
    for position in range(0, len(text), 3):
        if text[position] == " ":  # formatting does not count
            continue
        character = "7" if text[position] != "7" else "8"
        damaged = text[:position] + character + text[position + 1 :]
        with pytest.raises(ModelError, match=r"^model\.onnx: "):
            parse_metadata({**metadata, key: damaged}, "model.onnx")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schema": 3}, "schema 3: of a later version of fashioncnn; use that version"),
        (
            {"schema": 3, "unknown": 1},
            "schema 3: of a later version of fashioncnn; use that version",
        ),
        ({"precision": "fp64"}, "precision"),
        ({"graph_sha256": "0"}, "graph_sha256"),
        ({"graph_bytes": -1}, "graph_bytes"),
        ({"head_weight": "&"}, "head_weight: not base64"),
        ({"head_weight": "AAAA"}, "head_weight: 3 bytes for 3 classes"),
        ({"head_weight": encode_weight(WEIGHT * np.float32(np.nan))}, "not finite"),
        ({"verification": {}}, "verification"),
        ({"unknown": 1}, "unknown"),
        ({"weights_sha256": "1" * 64}, "weights_sha256 differs"),
    ],
)
def test_invalid_record_is_reported_in_one_line(description, record, values, message):
    metadata = changed(encode_metadata(description, record), EXPORT_KEY, **values)
    with pytest.raises(ModelError, match=message) as raised:
        parse_metadata(metadata, "model.onnx")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "1", '"', "null", "{}", "[" * 100_000])
@pytest.mark.parametrize("key", [DESCRIPTION_KEY, EXPORT_KEY])
def test_other_json_is_reported(description, record, key, text):
    metadata = {**encode_metadata(description, record), key: text}
    with pytest.raises(ModelError, match=r"^model\.onnx: "):
        parse_metadata(metadata, "model.onnx")


def test_size_of_the_documents_is_limited(description, record):
    metadata = {**encode_metadata(description, record), DESCRIPTION_KEY: " " * (1 << 20) + "{}"}
    with pytest.raises(ModelError, match="limit of 1 MiB"):
        parse_metadata(metadata, "model.onnx")


def test_every_changed_byte_of_the_graph_is_found(record):
    content = GRAPH + b"metadata"
    verify_graph(content, record, "model.onnx")
    for position in range(len(GRAPH)):
        damaged = bytearray(content)
        damaged[position] ^= 1
        with pytest.raises(ModelError, match=r"^model\.onnx: damaged"):
            verify_graph(bytes(damaged), record, "model.onnx")
    with pytest.raises(ModelError, match="damaged"):
        verify_graph(GRAPH[:-1], record, "model.onnx")


def test_files_that_cannot_be_read_are_reported(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        read_onnx(tmp_path / "missing.onnx")
    with pytest.raises(ModelError, match="a folder, not a file"):
        read_onnx(tmp_path)
