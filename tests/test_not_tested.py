"""What is omitted from the coverage where a component is missing."""

from pathlib import Path

import pytest

import fashioncnn

from . import not_tested, postgres

PACKAGE = Path(fashioncnn.__file__).parent


def only(name, reason):
    return {name: (lambda: reason, not_tested.MODULES[name][1])}


@pytest.mark.parametrize("name", not_tested.MODULES)
def test_modules_of_a_missing_component_are_omitted(name, monkeypatch):
    monkeypatch.setattr(not_tested, "MODULES", only(name, "not installed"))
    patterns, (message,) = not_tested.find_omitted()
    assert f"no {name} (not installed)" in message
    for pattern in patterns:
        assert list(PACKAGE.parent.glob(pattern.removeprefix("*/"))), "modules that exist"


def test_nothing_is_omitted_where_all_components_are_there(monkeypatch):
    present = {name: only(name, "")[name] for name in not_tested.MODULES}
    monkeypatch.setattr(not_tested, "MODULES", present)
    assert not_tested.find_omitted() == ([], [])


def test_reasons_are_those_of_the_skipped_tests(monkeypatch):
    monkeypatch.setattr(postgres, "tools_folder", lambda: None)
    assert not_tested.MODULES["PostgreSQL"][0]() == "needs PostgreSQL: make postgres"
    monkeypatch.setattr(not_tested, "find_spec", {"pyarrow": True}.get)
    assert not_tested.missing_ray() == "needs the extra [ray]"
    monkeypatch.setattr(not_tested.build, "_compilers", lambda: iter([]))
    assert not_tested.missing_kernels() in ("needs a C compiler", "needs Linux")
