"""Data of 80 drawings, and commands whose equal runs produce equal bytes."""

import pytest

from .commands import Scenario, run_command, write_data
from .comparable import constant_times, no_figures, products, thread_workers


@pytest.fixture(scope="session")
def data(tmp_path_factory, sketches):
    """A folder with IDX files of 60 training images, a search space, and three images."""
    folder = tmp_path_factory.mktemp("robustness") / "data"
    write_data(folder, sketches)
    return folder


@pytest.fixture
def _comparable(monkeypatch):
    pytest.importorskip("optuna", reason="needs the extra [tune]")
    monkeypatch.setenv("FASHIONCNN_KERNELS", "torch")
    with constant_times(), thread_workers(), no_figures():
        yield


@pytest.fixture
def prepare(data, tmp_path, monkeypatch, _comparable):
    """Return a function that creates a working folder in which a scenario can run."""

    def make(scenario: Scenario, name: str):
        work = tmp_path / name
        work.mkdir()
        monkeypatch.chdir(work)
        for command in scenario.before:
            ended = run_command(command, data)
            assert ended.code == 0, ended.err
        return work

    return make


@pytest.fixture
def finish(data, tmp_path, monkeypatch):
    """Return a function that continues a scenario in a folder, and returns what is wrong."""

    def proceed(scenario: Scenario, work, expected):
        monkeypatch.chdir(work)
        ended = run_command(scenario.proceed(scenario.command), data)
        return ended.problem(expected, products(work, scenario.ignored))

    return proceed
