"""Licences of the dependencies, and their pins in constraints.txt."""

from email.message import Message
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import licenses

BUILD_PACKAGES = {"hatchling", "tomlkit", "trove-classifiers"}
"""Needed to build the package only, in an environment of its own."""


def pins():
    lines = (licenses.ROOT / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(r.name): str(r.specifier) for r in requirements}


@pytest.fixture(scope="module")
def needed():
    return licenses.required_packages(licenses.project_requirements("dev"))


def test_every_dependency_is_pinned_to_one_version(needed):
    # Those of torch for one CUDA version are pinned by torch itself.
    names = {name for name in needed if not name.startswith(("nvidia-", "cuda-", "triton"))}
    assert names <= pins().keys()
    assert all(specifier.startswith("==") for specifier in pins().values())


def test_nothing_else_is_pinned(needed):
    assert pins().keys() - needed.keys() == BUILD_PACKAGES


def test_table_lists_every_package_with_its_licence(call, needed):
    lines = call(licenses).splitlines()
    assert "| numpy |" in "\n".join(lines)
    assert len(lines) == len(needed) + 2  # all licences are accepted


class Package:
    def __init__(self, **fields):
        self.metadata = Message()
        for name, values in fields.items():
            for value in [values] if isinstance(values, str) else values:
                self.metadata[name.replace("_", "-")] = value


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License_Expression": "MIT", "License": "x"}, "MIT"),
        (
            {"Classifier": ["License :: OSI Approved", "License :: OSI Approved :: BSD License"]},
            "BSD License",
        ),
        ({"License": "Apache 2.0\nand its whole text"}, "Apache 2.0"),
        ({}, "none"),
    ],
)
def test_licence_comes_from_expression_classifier_or_text(fields, expected):
    assert licenses.license_of(Package(**fields)) == expected


def test_unknown_licence_fails(call, monkeypatch):
    monkeypatch.setattr(licenses, "license_of", lambda package: "Proprietary")
    packages = {"numpy": distribution("numpy")}
    monkeypatch.setattr(licenses, "required_packages", lambda requirements: packages)
    assert "not a known permissive licence: numpy" in call(licenses)
