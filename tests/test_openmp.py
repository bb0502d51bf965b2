import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import fashioncnn
from fashioncnn.cli import main
from fashioncnn.openmp import SPIN_LIMITS, configure_openmp, positive_integer, thread_limit

VARIABLES = (*SPIN_LIMITS, "OMP_WAIT_POLICY", "OMP_DYNAMIC")


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
    configure_openmp()
    assert limits() == {}
    monkeypatch.delitem(sys.modules, "torch")
    configure_openmp()
    assert limits() == SPIN_LIMITS


@pytest.mark.parametrize("variable", SPIN_LIMITS)
def test_variable_of_the_user_is_kept(monkeypatch, variable):
    monkeypatch.setenv(variable, "7")
    configure_openmp()
    assert limits() == {**SPIN_LIMITS, variable: "7"}


def test_wait_policy_of_the_user_is_kept(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    configure_openmp()
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
    configure_openmp()
    code = "import os; print(os.environ['GOMP_SPINCOUNT'], os.environ['KMP_BLOCKTIME'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(SPIN_LIMITS.values())


@pytest.mark.parametrize("policy", [None, "PASSIVE"])
def test_the_number_of_threads_is_exact(monkeypatch, policy):
    """With OMP_DYNAMIC, OpenMP may give fewer threads than PyTorch expects."""
    monkeypatch.setenv("OMP_DYNAMIC", "true")
    if policy:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    configure_openmp()
    assert os.environ["OMP_DYNAMIC"] == "FALSE"


@pytest.mark.parametrize(
    ("variables", "limit"),
    [
        ({}, None),
        ({"OMP_THREAD_LIMIT": "2"}, 2),
        ({"OMP_THREAD_LIMIT": "no"}, None),
        ({"OMP_MAX_ACTIVE_LEVELS": "0"}, 1),
        ({"OMP_MAX_ACTIVE_LEVELS": "1", "OMP_THREAD_LIMIT": "3"}, 3),
    ],
)
def test_limits_of_the_user_are_known(monkeypatch, variables, limit):
    for name in ("OMP_THREAD_LIMIT", "OMP_MAX_ACTIVE_LEVELS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert thread_limit() == limit


@pytest.mark.parametrize(
    ("text", "value"), [("4,2", 4), (" 03 ", 3), ("0", None), ("-1", None), ("9" * 5000, None)]
)
def test_positive_integers_of_openmp(text, value):
    assert positive_integer(text) == value
