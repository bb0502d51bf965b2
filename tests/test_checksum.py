"""Checksums of JSON documents."""

import json

import pytest

from fashioncnn.checksum import ChecksumError, json_sha256, with_checksum, without_checksum

VALUES = {"b": [1, 0.5, None], "a": {"name": "Ankle boot", "é": True}}


def test_checksum_is_that_of_sorted_json():
    known = "9f03"
    assert json_sha256(VALUES)[:4] == known
    assert with_checksum(VALUES) == {**VALUES, "checksum": json_sha256(VALUES)}


def test_values_are_returned_without_the_checksum():
    document = json.loads(json.dumps(with_checksum(VALUES), indent=3))
    assert without_checksum(document) == VALUES
    assert without_checksum(dict(reversed(document.items()))) == VALUES


@pytest.mark.parametrize(
    "changed", [{"b": [1, 0.5]}, {"c": 1}, {"checksum": "0" * 64}, {"checksum": 0}]
)
def test_wrong_checksum_is_rejected(changed):
    with pytest.raises(ChecksumError, match="damaged or edited"):
        without_checksum({**with_checksum(VALUES), **changed})


def test_missing_checksum_is_rejected():
    with pytest.raises(
        ChecksumError, match=r"\(no checksum\); restore it, or set .checksum.: null"
    ):
        without_checksum(VALUES)


def test_document_edited_on_purpose_is_not_verified():
    assert without_checksum({**VALUES, "checksum": None}) == VALUES
