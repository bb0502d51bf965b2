"""The machine, the process, and what is recorded of them; without torch."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fashioncnn
from fashioncnn import environment
from fashioncnn.environment import (
    EXTRAS,
    available_cores,
    configure_allocator,
    default_threads,
    describe_environment,
    peak_memory_bytes,
    require_modules,
)
from fashioncnn.errors import MissingExtraError
from fashioncnn.settings import RuntimeConfig

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the size of the parent is included")
def test_peak_memory_does_not_include_the_parent_process():
    """A child that is forked from a large process starts with its peak in getrusage."""
    large = bytearray(200_000_000)
    code = "from fashioncnn.environment import peak_memory_bytes; print(peak_memory_bytes())"
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert len(large) == 200_000_000
    assert 5e6 < int(printed) < 150e6


def test_peak_memory_without_proc_is_that_of_getrusage(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(environment.Path, "read_text", raise_os_error)
    expected = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if sys.platform == "linux":
        assert peak_memory_bytes() == pytest.approx(expected, rel=0.1)


def raise_os_error(*_):
    raise OSError


@pytest.mark.parametrize(
    ("affinity", "granted", "expected"),
    [
        ({0, 1, 2, 5}, None, 4),
        ({3}, None, 1),
        ({0, 1, 2, 5}, 2.0, 2),
        ({0, 1, 2, 5}, 2.5, 3),
        ({0, 1}, 16.0, 2),
        ({0, 1}, 0.25, 1),
    ],
)
def test_cores_are_limited_by_affinity_and_control_groups(monkeypatch, affinity, granted, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: affinity, raising=False)
    monkeypatch.setattr(environment, "granted_cores", lambda: granted)
    assert available_cores() == expected


def test_cores_of_a_system_without_affinity_are_all(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(environment, "granted_cores", lambda: None)
    for count, expected in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert available_cores() == expected


@pytest.mark.parametrize(
    ("requested", "processes", "expected"),
    [
        (None, 1, 8),
        (None, 3, 2),
        (None, 100, 1),
        ("4", 1, 4),
        (" 4,2", 1, 4),
        ("16", 1, 16),
        ("1", 4, 1),
        ("16", 4, 2),
        ("5000", 1, 1024),
        *((invalid, 1, 8) for invalid in ("", "0", "-2", "two", "1.5", "9" * 5000)),
    ],
)
def test_threads_are_those_of_openmp_or_one_per_core(monkeypatch, requested, processes, expected):
    monkeypatch.setattr(environment, "available_cores", lambda: 8)
    if requested is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", requested)
    assert default_threads(processes) == expected


@pytest.mark.parametrize(("requested", "expected"), [(None, 3), ("2", 2), ("16", 3)])
def test_threads_are_no_more_than_openmp_grants(monkeypatch, requested, expected):
    monkeypatch.setattr(environment, "available_cores", lambda: 8)
    monkeypatch.setenv("OMP_THREAD_LIMIT", "3")
    if requested is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", requested)
    assert default_threads() == expected


def test_environment_has_the_documented_keys():
    config = RuntimeConfig(device="cpu", precision="bf16", threads=3, kernels="native")
    described = describe_environment(config, {"name": "own", "sha256": {}}, gpu="a GPU")
    assert list(described) == [
        "schema",
        "python",
        "platform",
        "packages",
        "cpu",
        "cores",
        "gpu",
        "device",
        "precision",
        "threads",
        "kernels",
        "data",
        "git_commit",
    ]
    assert described["schema"] == 2
    assert described["data"] == {"name": "own", "sha256": {}}
    assert (described["gpu"], described["precision"], described["threads"]) == ("a GPU", "bf16", 3)
    assert described["kernels"] == "native"
    assert described["packages"]["numpy"]
    assert described["cores"] == available_cores() >= 1


def test_version_is_that_of_the_code_that_runs(monkeypatch):
    """In a checkout that was installed as editable before its version changed."""
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0")
    config = RuntimeConfig(device="cpu", precision="fp32", threads=1, kernels="torch")
    described = describe_environment(config, {"name": "own", "sha256": {}})
    assert described["packages"]["fashioncnn"] == fashioncnn.__version__


@pytest.mark.parametrize("task", EXTRAS)
def test_missing_modules_are_reported_with_the_install_command(task, monkeypatch):
    require_modules(task)
    missing = EXTRAS[task][-1]
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find_spec(name)
    )
    with pytest.raises(MissingExtraError, match=f"^{missing} is not installed; ") as raised:
        require_modules(task)
    message = str(raised.value)
    assert "pip install fashioncnn" not in message  # it is in no index, or someone else's
    if missing != "pandas":
        extra = {
            "optuna": "tune",
            "onnxscript": "train",
            "torch": "train",
            "python_multipart": "serve",
            "psycopg": "postgres",
            "alembic": "track",
            "tensorboard": "track",
        }.get(missing, "report")
        assert message.endswith(f"in a checkout of fashioncnn, run: pip install '.[{extra}]'")


def test_one_command_installs_all_missing_modules(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for task, extra in {"report": "report", "train": "train", "tune": "tune"}.items():
        with pytest.raises(MissingExtraError, match=rf"pip install '\.\[{extra}\]'"):
            require_modules(task)


def test_extras_contain_the_modules_that_tasks_need():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]

    def installed(extra):
        names = set()
        for requirement in extras[extra]:
            nested = re.fullmatch(r"fashioncnn\[(.+)\]", requirement)
            if nested:
                names |= set().union(*map(installed, nested[1].split(",")))
            else:
                names.add(re.split(r"[<>=]", requirement)[0])
        return names

    extra_of = {"export": "train", "report": "report", "train": "train", "tune": "tune"}
    for task, extra in extra_of.items():
        assert set(EXTRAS[task]) <= installed(extra)


def test_allocator_is_configured_on_linux_only(monkeypatch):
    options = []

    class Library:
        def __init__(self, name):
            self.mallopt = lambda *option: options.append(option)

    monkeypatch.setattr(environment.ctypes, "CDLL", Library)
    monkeypatch.setattr(environment.sys, "platform", "darwin")
    configure_allocator()
    assert options == []
    monkeypatch.setattr(environment.sys, "platform", "linux")
    configure_allocator()
    assert options == [(-3, 1 << 30), (-1, (1 << 31) - 1)]
