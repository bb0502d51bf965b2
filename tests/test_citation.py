"""``CITATION.cff``, from which GitHub and Zenodo make a citation."""

import re
from pathlib import Path

import pytest

import fashioncnn

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CITATION.cff").read_text()
CHANGES = (ROOT / "CHANGELOG.md").read_text()
REQUIRED = ("cff-version", "message", "title", "authors")
"""Keys that the schema 1.2.0 of the Citation File Format requires."""


def value_of(key):
    """Return the value of a key of the top level."""
    return re.search(rf"^{key}: *\"?(.*?)\"?$", TEXT, re.MULTILINE)[1]


def test_version_is_that_of_the_package():
    assert value_of("version") == fashioncnn.__version__


def test_date_is_that_of_the_version_in_the_changelog():
    version, date = fashioncnn.__version__, value_of("date-released")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", date)
    assert f"## {version} - {date}" in CHANGES


@pytest.mark.parametrize("key", REQUIRED)
def test_required_key_is_there_once(key):
    assert len(re.findall(rf"^{key}:", TEXT, re.MULTILINE)) == 1


def test_format_and_license():
    assert value_of("cff-version") == "1.2.0"
    assert value_of("license") == "MIT"
    assert "- name: fashioncnn developers\n" in TEXT
