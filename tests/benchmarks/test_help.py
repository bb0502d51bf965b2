import importlib
import sys

import pytest

from .conftest import BENCHMARKS

SCRIPTS = sorted(
    path.stem
    for folder in (BENCHMARKS, BENCHMARKS / "peers")
    for path in folder.glob("*.py")
    if "argparse" in path.read_text() or "make_parser(__doc__)" in path.read_text()
)
LIBRARIES = {"common", "protocol"}
NEEDS_TENSORFLOW = {"keras_tensorflow"}


@pytest.mark.parametrize("name", sorted(set(SCRIPTS) - LIBRARIES - NEEDS_TENSORFLOW))
def test_every_script_has_help(name, monkeypatch, capsys):
    script = importlib.import_module(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as exit_:
        script.main()
    assert exit_.value.code == 0
    assert (script.__doc__ or "").splitlines()[0][:40] in " ".join(capsys.readouterr().out.split())


def test_scripts_are_found():
    assert len(SCRIPTS) > 20
