"""Checksums in JSON documents: a changed character is an error, not another result.

They find damage, not forgery: whoever can write the document can write a matching checksum.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

CHECKSUM = "checksum"
"""Key of the checksum in a document."""


class ChecksumError(ValueError):
    """A checksum does not match; the message follows the path of the document."""


def json_sha256(values: dict[str, Any]) -> str:
    """Return the SHA-256 of JSON or TOML values; their order and formatting do not matter."""
    content = json.dumps(values, sort_keys=True, default=str)  # TOML has dates
    return hashlib.sha256(content.encode()).hexdigest()


def with_checksum(values: dict[str, Any]) -> dict[str, Any]:
    """Return a document with the checksum of all its values."""
    return {**values, CHECKSUM: json_sha256(values)}


def without_checksum(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a document whose checksum matches them.

    Args:
        values: the document. A checksum of null, which no damage turns one into, marks a document
            as edited on purpose; it is not verified.

    Raises:
        ChecksumError: the checksum is missing or does not match.
    """
    content = {key: value for key, value in values.items() if key != CHECKSUM}
    expected = values.get(CHECKSUM, "")
    if expected is not None and expected != json_sha256(content):
        problem = "wrong checksum" if expected else "no checksum"
        raise ChecksumError(
            f'damaged or edited ({problem}); restore it, or set "{CHECKSUM}": null in it if it was '
            "edited on purpose"
        )
    return content
