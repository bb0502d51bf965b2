"""Checksums in JSON documents: a changed character is an error, not another result.

They find damage, not forgery: whoever can write the document can write a matching checksum.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
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


def without_checksum(values: dict[str, Any], keys_of_0_2_0: Collection[str] = ()) -> dict[str, Any]:
    """Return the values of a document whose checksum matches them.

    Args:
        values: the document. A checksum of null, which no damage turns one into, marks a document
            as edited on purpose; it is not verified.
        keys_of_0_2_0: version 0.2.0 wrote no checksum. A document that has none is accepted if it
            has no other keys than these; in a document of a later version, a damaged
            ``"checksum"`` is another key.

    Raises:
        ChecksumError: the checksum is missing or does not match.
    """
    content = {key: value for key, value in values.items() if key != CHECKSUM}
    if CHECKSUM not in values and values and set(values) <= set(keys_of_0_2_0):
        return content
    expected = values.get(CHECKSUM, "")
    if expected is not None and expected != json_sha256(content):
        problem = "wrong checksum" if expected else "no checksum"
        raise ChecksumError(
            f'damaged or edited ({problem}); restore it, or set "{CHECKSUM}": null in it if it was '
            "edited on purpose"
        )
    return content
