"""Modules below `models/` and every ``--help`` work without torch, scipy and matplotlib."""

import json
import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

from fashioncnn.cli import COMMANDS, GROUPS

BLOCKED = ("torch", "scipy", "matplotlib")


def modules_of(package):
    """The names of a package and of all modules in it."""
    path = import_module(package).__path__
    return [package, *(f"{package}.{module.name}" for module in pkgutil.iter_modules(path))]


MODULES = [
    "fashioncnn",
    "fashioncnn.errors",
    "fashioncnn.settings",
    "fashioncnn.config",
    "fashioncnn.files",
    "fashioncnn.runs",
    "fashioncnn.migration",
    "fashioncnn.environment",
    *modules_of("fashioncnn.data"),
    *modules_of("fashioncnn.images"),
    *modules_of("fashioncnn.artifacts"),
    *modules_of("fashioncnn.evaluation"),
    *modules_of("fashioncnn.inference"),
    "fashioncnn.cli",
    "fashioncnn.cli.data",
    "fashioncnn.cli.datasets",
]
HELP = [
    (),
    *((command,) for command in COMMANDS),
    *((group, command) for group, commands in GROUPS.items() for command in commands),
]
SCRIPT = """
import contextlib, importlib, importlib.abc, io, json, sys, traceback

blocked, modules, commands = json.loads(sys.argv[1])

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())

def error_of(function, *arguments):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            code = function(*arguments)
    except BaseException:
        return traceback.format_exc()
    return f"exit code {code}" if isinstance(code, int) and code else None

errors = {name: error_of(importlib.import_module, name) for name in modules}

from fashioncnn.cli import main

for command in commands:
    errors[" ".join(command)] = error_of(main, [*command, "--help"])
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def errors():
    """The error, or None, of each import and each ``--help``, from one process for all."""
    arguments = json.dumps([BLOCKED, [*BLOCKED, *MODULES], HELP])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, arguments], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", BLOCKED)
def test_blocked_module_cannot_be_imported(errors, module):
    assert f"ImportError: {module} is blocked" in errors[module]


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_without_torch(errors, module):
    assert errors[module] is None, errors[module]


@pytest.mark.parametrize("command", HELP, ids=lambda c: " ".join(c) or "none")
def test_help_needs_no_torch(errors, command):
    error = errors[" ".join(command)]
    assert error is None, error


WITHOUT_EXTRAS = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is blocked")

blocked = sys.argv.pop(1).split(",")
sys.meta_path.insert(0, Blocker())

from fashioncnn.cli import main

sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (["report", "run"], "torch,optuna"),
        (["compare", "run", "other"], "torch,optuna,matplotlib,jinja2"),
    ],
    ids=["report", "compare"],
)
def test_command_needs_only_the_packages_that_it_uses(two_runs, command, missing):
    arguments = [sys.executable, "-c", WITHOUT_EXTRAS, missing, *command]
    done = subprocess.run(arguments, cwd=two_runs, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory, small, tiny_settings):
    """A folder with two finished runs."""
    from fashioncnn.runs import create_run
    from fashioncnn.training.run import train_model

    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("run", "other")):
        settings = tiny_settings(epochs=1, seed=seed)
        train_model(settings, small, run=create_run(folder / name, settings))
    return folder
