import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import fashioncnn
from fashioncnn.cli import main
from fashioncnn.openmp import SPIN_LIMITS, limit_spinning

VARIABLES = (*SPIN_LIMITS, "OMP_WAIT_POLICY")


@pytest.fixture(autouse=True)
def torch_not_imported(monkeypatch):
    """Without variables of the user; what a test sets is removed after it."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)


def limits():
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def test_spinning_is_limited_before_torch_is_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    limit_spinning()
    assert limits() == {}
    monkeypatch.delitem(sys.modules, "torch")
    limit_spinning()
    assert limits() == SPIN_LIMITS


@pytest.mark.parametrize("variable", SPIN_LIMITS)
def test_variable_of_the_user_is_kept(monkeypatch, variable):
    monkeypatch.setenv(variable, "7")
    limit_spinning()
    assert limits() == {**SPIN_LIMITS, variable: "7"}


def test_wait_policy_of_the_user_is_kept(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    limit_spinning()
    assert limits() == {"OMP_WAIT_POLICY": "ACTIVE"}


def test_command_line_limits_spinning():
    assert main(["--version"]) == 0
    assert limits() == SPIN_LIMITS


def test_python_api_limits_spinning_before_it_imports_a_module(monkeypatch):
    at_import = []
    module = SimpleNamespace(Classifier=None)
    monkeypatch.setattr(fashioncnn, "import_module", lambda _: at_import.append(limits()) or module)
    assert fashioncnn.Classifier is None
    assert at_import == [SPIN_LIMITS]


def test_worker_processes_inherit_the_limits():
    limit_spinning()
    code = "import os; print(os.environ['GOMP_SPINCOUNT'], os.environ['KMP_BLOCKTIME'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(SPIN_LIMITS.values())
