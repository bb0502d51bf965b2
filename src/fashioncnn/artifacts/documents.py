"""JSON documents with a checksum: parsed, verified, and validated against a model of their keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fashioncnn.checksum import without_checksum
from fashioncnn.reading import parse_json

Document = TypeVar("Document", bound=BaseModel)
Values = dict[str, Any]


def parse_document(
    content: bytes,
    kind: type[Document],
    verify: Callable[[Values], Values] = without_checksum,
    *,
    has_paths: bool = False,
) -> Document:
    """Return the validated content of a JSON document.

    Args:
        content: JSON text.
        kind: of the document.
        verify: returns the values of `kind` in a JSON object, whose checksum it verifies.
        has_paths: whether strings may be paths, whose bytes need not be UTF-8. Lists are then no
            tuples, as pydantic converts them only where it parses the text itself.

    Raises:
        ChecksumError: the checksum is missing or does not match.
        ValueError: it is not JSON, or not of this kind; the message names the first problem.
    """
    try:
        values = parse_json(content)
    except ValueError as error:
        raise ValueError(f"JSON: {error}") from None
    try:
        verified = verify(values) if isinstance(values, dict) else values
        if has_paths:
            return kind.model_validate(verified)
        return kind.model_validate_json(json.dumps(verified))
    except ValidationError as error:
        raise ValueError(_first_problem(error)) from None
    except RecursionError as error:
        raise ValueError(f"JSON: {error}") from None


def _first_problem(error: ValidationError) -> str:
    """Return the key and the message of the first error, or that it is of a later version."""
    problems = error.errors()
    first = next((each for each in problems if each["loc"] == ("schema",)), problems[0])
    if first["type"] == "less_than_equal" and first["loc"] == ("schema",):
        return f"schema {first['input']}: of a later version of fashioncnn; use that version"
    key = ".".join(str(p) for p in first["loc"]) or "JSON"
    return f"{key}: {first['msg']}"
