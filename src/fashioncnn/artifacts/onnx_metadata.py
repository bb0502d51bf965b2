"""The metadata of an ONNX file, read without the ``onnx`` package and without its graph.

An ONNX file is a protocol buffer, a sequence of fields, each a key and a value (see
https://protobuf.dev/programming-guides/encoding/). The graph is one field and is skipped, so that
nothing of an untrusted graph is interpreted before it is known to be the one that was exported.
"""

from __future__ import annotations

from collections.abc import Iterator

METADATA_FIELD = 14
"""Number of ``metadata_props`` in ``ModelProto`` of https://github.com/onnx/onnx (onnx.proto)."""
KEY_FIELD, VALUE_FIELD = 1, 2
"""Numbers of the fields in an entry of ``metadata_props``."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Types of values: a number of variable length, 8 bytes, bytes with their length, 4 bytes."""
MAX_VARINT_BYTES = 10
MAX_FIELDS = 1000
"""Limit on the fields of a file; an exported one has fewer than 20."""


def find_metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of an ONNX file.

    Args:
        content: of the file.

    Raises:
        ValueError: it is not a protocol buffer, or has more than `MAX_FIELDS` fields.
    """
    metadata = {}
    for number, entry in _fields(memoryview(content)):
        if number == METADATA_FIELD:
            fields = {inner: bytes(value) for inner, value in _fields(entry)}
            key, value = (fields.get(field, b"") for field in (KEY_FIELD, VALUE_FIELD))
            metadata[key.decode()] = value.decode()
    return metadata


def is_metadata(content: bytes) -> bool:
    """Return whether the end of an ONNX file has metadata only, and nothing that adds to its graph.

    Args:
        content: of the file from the end of a field on.

    Raises:
        ValueError: it is not a protocol buffer.
    """
    return all(number == METADATA_FIELD for number, _ in _fields(memoryview(content)))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and value of each field; the value is empty unless it is of type `BYTES`."""
    position = count = 0
    while position < len(message):
        count += 1
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if number == 0 or count > MAX_FIELDS:
            raise ValueError("not a protocol buffer of an ONNX file")
        start = position
        if kind == VARINT:
            _, position = _varint(message, position)
            start = position
        elif kind == BYTES:
            length, start = _varint(message, position)
            position = start + length
        elif kind in (FIXED64, FIXED32):
            start = position = position + (8 if kind == FIXED64 else 4)
        else:
            raise ValueError(f"field of unknown type {kind}")
        if position > len(message):
            raise ValueError("ends in the middle of a field")
        yield number, message[start:position]


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the number at `position`, 7 bits per byte, and the position after it."""
    value = 0
    for index, byte in enumerate(message[position : position + MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("ends in the middle of a number")
