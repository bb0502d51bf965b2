"""A command on a full disk ends with one line, leaves no partial file, and can be continued."""

import shutil
import sys

import pytest

from .commands import SCENARIOS, run_command
from .comparable import products
from .faults import full_disk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")
IN_MAKE_TEST = 5
"""Moments of each command at which the disk is full in `make test`; the others are slow."""


@pytest.fixture
def failures(prepare, finish, data, tmp_path, monkeypatch):
    """Return a function that tests operations `choose(n)` of a scenario and lists what is wrong."""

    def check(scenario, choose):
        work = prepare(scenario, "whole")
        before = tmp_path / "before"
        shutil.copytree(work, before)
        with full_disk(work, sys.maxsize) as disk:
            ended = run_command(scenario.command, data)
        assert ended.code == 0, ended.err
        expected, found = products(work, scenario.ignored), []
        for number in choose(disk.count):
            problem = attempt(scenario, number, expected, shutil.copytree(before, tmp_path / "at"))
            if problem:
                found.append(f"full at operation {number}: {problem}")
            shutil.rmtree(tmp_path / "at")
        return "\n".join(found)

    def attempt(scenario, number, expected, work):
        monkeypatch.chdir(work)
        with full_disk(work, number) as disk:
            ended = run_command(scenario.command, data)
        if disk.has_failed and not ended.is_plain_error:
            return f"exit code {ended.code}, {ended.err.strip()[-200:]}"
        return finish(scenario, work, expected)

    return check


@pytest.mark.parametrize("name", SCENARIOS)
def test_full_disk_is_an_error_after_which_the_command_continues(name, failures):
    assert failures(SCENARIOS[name], a_sample) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_disk_full_at_any_other_operation_is_an_error_after_which_the_command_continues(
    name, failures
):
    stride = SCENARIOS[name].stride

    def others(n):
        return sorted(set(range(0, n, stride)) - set(a_sample(n)))

    assert failures(SCENARIOS[name], others) == ""


def a_sample(n):
    """Return the numbers of the operations, of `n`, that `make test` lets fail."""
    return range(0, n, max(1, n // IN_MAKE_TEST))
