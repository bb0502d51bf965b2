"""A command that is killed before any of its file operations can be continued.

The continued command has the result of one that was not interrupted, byte by byte, or ends with one
line that reports how to continue. See `recorder` for how the kill points are found.
"""

import re
import shutil
import sys
from pathlib import Path

import pytest

from .commands import SCENARIOS, run_command
from .recorder import read_folder, recording

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")
HOW_TO_CONTINUE = re.compile(r"--from|--resume|--out|new run|same command|remove|run .*again")
IN_MAKE_TEST = 12
"""Kill points of each command in `make test`; the others are marked slow."""


@pytest.fixture
def kill_points(data, tmp_path, monkeypatch, same_times, fast, thread_workers):
    """Return a function that runs a command and returns its kill points and its products."""

    def record(scenario):
        work = tmp_path / "recorded"
        work.mkdir()
        monkeypatch.chdir(work)
        for command in scenario.before:
            ended = run_command(command, data)
            assert ended.code == 0, ended.err
        with recording(work) as recorder:
            ended = run_command(scenario.command, data)
        assert ended.code == 0, ended.err
        return recorder.states, products(work, scenario)

    return record


@pytest.mark.parametrize("name", SCENARIOS)
def test_command_killed_at_a_file_operation_can_be_continued(
    name, kill_points, data, tmp_path, monkeypatch
):
    scenario = SCENARIOS[name]
    states, expected = kill_points(scenario)
    failures = check(choose(states, IN_MAKE_TEST), scenario, expected, data, tmp_path, monkeypatch)
    assert not failures, "\n".join(failures)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_command_killed_at_every_file_operation_can_be_continued(
    name, kill_points, data, tmp_path, monkeypatch
):
    scenario = SCENARIOS[name]
    states, expected = kill_points(scenario)
    failures = check(states, scenario, expected, data, tmp_path, monkeypatch)
    assert not failures, "\n".join(failures)


def choose(states, n):
    """Return the states before the first operations and the renames, about `n` in total."""
    important = [s for s in states if "rename" in s.operation or s.number < 3] or states
    step = max(1, round(len(important) / n))
    return [*important[::step], states[-1]]


def check(states, scenario, expected, data, tmp_path, monkeypatch):
    """Return what is wrong after each state is restored and continued."""
    failures = []
    for at, state in enumerate(states):
        work = tmp_path / f"killed-{at}"
        work.mkdir()
        monkeypatch.chdir(work)
        state.restore(work)
        ended = run_command(scenario.proceed(scenario.command), data)
        problem = problem_of(ended, expected, products(work, scenario))
        if problem:
            failures.append(f"{state.label}: {problem}")
        shutil.rmtree(work)
    return failures


def problem_of(ended, expected, found):
    """Return why the continued command is not acceptable; None if it is."""
    last = (ended.err.strip().splitlines() or [""])[-1]
    if ended.code != 0:
        if not ended.is_plain_error:
            return f"exit code {ended.code}: {last}"
        return None if HOW_TO_CONTINUE.search(last) else f"no way to continue: {last}"
    if found.keys() != expected.keys():
        return f"files differ: {sorted(found.keys() ^ expected.keys())} ({last})"
    different = [name for name in expected if found[name] != expected[name]]
    return f"content differs: {different}" if different else None


def products(work, scenario):
    """Return the files that an uninterrupted and a continued command have in common.

    Manifests of checkpoints contain training times, and weights of the previous checkpoint depend
    on when it was written.
    """
    return {
        name: content
        for name, content in read_folder(Path(work)).items()
        if not name.endswith(scenario.ignored or "\0")
        and "checkpoints/" not in name
        and not name.endswith(".lock")
    }
