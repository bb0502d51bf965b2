"""A command that is killed before any of its file operations can be continued.

The continued command has the result of one that was not interrupted, byte by byte, or ends with one
line that reports how to continue. See `recorder` for how the kill points are found.
"""

import shutil
import sys

import pytest

from .commands import SCENARIOS, run_command
from .comparable import products
from .recorder import recording

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")
IN_MAKE_TEST = 12
"""Kill points of each command in `make test`; the others are marked slow."""


@pytest.fixture
def failures(prepare, finish, data, tmp_path):
    """Return a function that tests `choose(states)` of a scenario and lists what is wrong."""

    def check(scenario, choose):
        work = prepare(scenario, "recorded")
        with recording(work) as recorder:
            ended = run_command(scenario.command, data)
        assert ended.code == 0, ended.err
        expected, found = products(work, scenario.ignored), []
        for at, state in enumerate(choose(recorder.states)):
            killed = tmp_path / f"killed-{at}"
            killed.mkdir()
            state.restore(killed)
            problem = finish(scenario, killed, expected)
            if problem:
                found.append(f"{state.label}: {problem}")
            shutil.rmtree(killed)
        return "\n".join(found)

    return check


@pytest.mark.parametrize("name", SCENARIOS)
def test_command_killed_at_a_file_operation_can_be_continued(name, failures):
    assert failures(SCENARIOS[name], a_sample) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_command_killed_at_any_other_file_operation_can_be_continued(name, failures):
    stride = SCENARIOS[name].stride

    def others(states):
        sample = {id(state) for state in a_sample(states)}
        return [state for state in states[::stride] if id(state) not in sample]

    assert failures(SCENARIOS[name], others) == ""


def a_sample(states):
    """Return states before the first operations and the renames, and the last one."""
    important = [s for s in states if "rename" in s.operation or s.number < 3] or states
    step = max(1, round(len(important) / IN_MAKE_TEST))
    return [*important[::step], states[-1]]
