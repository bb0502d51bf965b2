"""JSON documents with a checksum."""

import json

import pytest
from pydantic import BaseModel, ConfigDict

from fashioncnn.artifacts.documents import parse_document
from fashioncnn.checksum import ChecksumError, with_checksum


class Point(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    x: int
    y: float = 0.5


def encode(values):
    return json.dumps(with_checksum(values)).encode()


def test_values_are_those_of_the_document():
    assert parse_document(encode({"x": 3, "y": 1}), Point) == Point(x=3, y=1.0)


def test_a_changed_value_is_found():
    with pytest.raises(ChecksumError, match="wrong checksum"):
        parse_document(encode({"x": 3}).replace(b"3", b"4", 1), Point)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "^JSON: Expecting value"),
        (b"\xff", "^JSON: 'utf-8' codec"),
        (b"[" * 100_000, "^JSON: nested too deeply"),
        (b"[3]", "^JSON: Input should be an object"),
        (b'"x"', "^JSON: Input should be an object"),
        (encode({"x": "3"}), "^x: Input should be a valid integer"),
        (encode({"y": 1}), "^x: Field required"),
        (encode({"x": 3, "z": 1}), "^z: Extra inputs are not permitted"),
    ],
)
def test_other_content_is_rejected_with_the_first_problem(content, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_document(content, Point)
    assert "\n" not in str(error.value)


class Place(BaseModel):
    model_config = ConfigDict(strict=True)

    folder: str


def test_paths_may_have_bytes_that_are_not_utf8():
    content = encode({"folder": "/caf\udce9"})
    assert parse_document(content, Place, has_paths=True) == Place(folder="/caf\udce9")


def test_values_may_be_verified_in_another_way():
    def keep(values):
        return {"x": values["old"]}

    assert parse_document(b'{"old": 7}', Point, keep) == Point(x=7)
