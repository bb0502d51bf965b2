"""What the OpenAPI document says about bodies and errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fashioncnn.serving.problems import MEDIA_TYPE
from fashioncnn.serving.schemas import Problem
from fashioncnn.serving.uploads import BINARY, FIELD, MULTIPART

BINARY_SCHEMA = {"type": "string", "format": "binary"}
PREDICT_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "properties": {
                        FIELD: {
                            "type": "array",
                            "items": BINARY_SCHEMA,
                            "minItems": 1,
                            "description": "Image files.",
                        }
                    },
                    "required": [FIELD],
                    "additionalProperties": False,
                }
            },
            "image/*": {"schema": BINARY_SCHEMA},
            BINARY: {"schema": BINARY_SCHEMA},
        },
    }
}
"""The body of ``POST /v1/predict``, which the application reads itself, within limits."""
TEMPORARY = (429, 503)
"""Status codes with the header ``Retry-After``."""


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the responses with problem details, by status code."""
    return {status: _describe(status) for status in statuses}


def _describe(status: int) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }
    if status in TEMPORARY:
        response["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}
        }
    return response
