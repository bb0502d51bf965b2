"""Lint: files are parsed from `fashioncnn.reading` only, and nothing is ever unpickled."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "fashioncnn"
FORBIDDEN = {"read_text", "read_bytes", "loadtxt", "genfromtxt", "fromfile", "unpickle"}
ALLOWED = {
    "reading.py": "the module itself",
    "cgroups.py": "/proc/self and the files of control groups",
    "environment.py": "/proc/self/status and /proc/cpuinfo",
    "config.py": "recipes of the package",
    "tuning/parsing.py": "search spaces of the package",
    "locks.py": "/proc/mounts",
    "data/frames.py": "lines of a table whose size was checked",
    "kernels/build.py": "C files of the package",
    "kernels/cache.py": "libraries that only the user can write",
}
"""Modules that read other files, and which."""


def calls(path):
    """Yield (line, dotted name) of every call in a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


def modules():
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_module_parses_no_file_without_a_limit(path):
    if str(path.relative_to(PACKAGE)) in ALLOWED:
        return
    found = [
        f"{path}:{line}: {name}"
        for line, name in calls(path)
        if ("." in name and name.rpartition(".")[2] in FORBIDDEN) or name == "np.load"
    ]
    assert found == [], "use fashioncnn.reading"


def test_nothing_is_unpickled_or_evaluated():
    names = {"eval", "exec", "torch.load", "pickle.load", "pickle.loads", "marshal.loads"}
    found = [
        f"{path}:{line}: {name}"
        for path in modules()
        for line, name in calls(path)
        if name in names
    ]
    assert found == []
