import os
import subprocess
import sys

import pytest

import busy
import busy_trial
from busy import Trial
from busy_trial import COMPUTE_WHILE_PARENT_RUNS, busy_processes, compare_threads


def trial(number, two_threads, *, idle=None, default=100.0):
    def rates(value):
        return {"1": 100.0, "2": value}

    loads = {"0": rates(idle or two_threads), "4": rates(two_threads)}
    measured = {"training": loads, "prediction": loads}
    spinning = {"training": {"0": rates(default)}, "prediction": {"0": rates(default)}}
    return Trial("fast93", "fp32", number, 0.0, measured, spinning)


def test_table_has_medians_worst_trials_and_missed_targets():
    trials = [trial(1, 96.0), trial(2, 130.0), trial(3, 74.0)]
    rows = busy.make_table(trials, [0, 4]).splitlines()
    assert rows[2] == (
        "| `fast93` | fp32 | training | **0.96 [0.74]** | **0.96 [0.74]** | **0.96 [0.74]** |"
    )
    assert len(rows) == 4
    row = busy.make_table(trials[:2], [4]).splitlines()[3]
    assert row == "| `fast93` | fp32 | prediction | 1.13 [0.96] |"


def test_idle_ratio_compares_all_threads_with_those_that_spin():
    trials = [trial(1, 96.0, idle=190.0, default=200.0)]
    assert busy.idle_ratios(trials, "training") == [0.95]


def test_more_than_nine_threads_are_all_threads():
    assert busy.all_threads({"1": 1.0, "9": 2.0, "16": 3.0}) == 3.0


def test_busy_processes_run_only_inside_the_block(monkeypatch):
    started = []

    class Process(subprocess.Popen):
        def __init__(self, command):
            super().__init__(command)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Process)
    with busy_processes(2):
        assert [process.poll() for process in started] == [None, None]
    assert all(process.poll() is not None for process in started)


def test_busy_processes_end_with_their_parent():
    other_parent = str(os.getpid() + 1)
    command = [sys.executable, "-c", COMPUTE_WHILE_PARENT_RUNS, other_parent]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0


def test_threads_are_measured_in_turns(monkeypatch):
    used = []
    monkeypatch.setattr(busy_trial.torch, "set_num_threads", used.append)
    monkeypatch.setattr(busy_trial, "available_cores", lambda: 2)
    rates = iter([1.0, 10.0, 2.0, 20.0, 3.0, 30.0])
    assert compare_threads(lambda _: next(rates), 1.0) == {"1": 2.0, "2": 20.0}
    assert used == [1, 2] * 3


@pytest.mark.slow
def test_a_trial_measures_training_and_prediction():
    result = busy.run_trial("fast93", "fp32", 1, [0, 1], seconds=0.1)
    for activity in busy.ACTIVITIES:
        assert all(ratio > 0 for ratio in busy.thread_ratios([result], activity, 1))
        assert all(ratio > 0 for ratio in busy.idle_ratios([result], activity))


def test_interrupted_trials_continue(call, monkeypatch, tmp_path):
    ran = []

    def run_trial(recipe, precision, number, *_):
        if len(ran) == 1:
            ran.append("interrupted")
            raise SystemExit("fast93, fp32: killed")
        ran.append(f"{recipe} {number}")
        return trial(number, 150.0 + number)

    monkeypatch.setattr(busy, "run_trial", run_trial)
    monkeypatch.setattr(busy, "available_cores", lambda: 2)
    options = "--recipes", "fast93", "--precisions", "fp32", "--load", 0, "--trials", 3
    with pytest.raises(SystemExit, match="killed"):
        call(busy, *options)
    call(busy, *options[:-1], 1)  # of its own
    assert ran[2:] == ["fast93 1"]
    table = call(busy, *options)
    assert ran[3:] == ["fast93 2", "fast93 3"]
    assert "| `fast93` | fp32 | training | 1.52 [1.51] | 1.52 [1.51] |" in table
    call(busy, *options)
    assert ran[5:] == ["fast93 1", "fast93 2", "fast93 3"], "complete measurements are repeated"


def test_one_core_has_no_threads_to_compare(call, monkeypatch, capsys):
    monkeypatch.setattr(busy, "available_cores", lambda: 1)
    with pytest.raises(SystemExit) as caught:
        call(busy, "--quick")
    assert caught.value.code == 2
    assert "one core: there are no threads to compare" in capsys.readouterr().err


@pytest.mark.parametrize("number", [1, 2])
def test_the_two_limits_of_spinning_take_turns(monkeypatch, number):
    measured = []

    def measure(recipe, precision, loads, seconds, spin_count):
        measured.append(spin_count)
        return {"spin_count": spin_count}

    monkeypatch.setattr(busy, "_measure", measure)
    result = busy.run_trial("fast93", "fp32", number, [0], 1.0)
    default = busy.LIBGOMP_SPIN_COUNT
    assert measured == ([None, default] if number == 1 else [default, None])
    assert result.rates == {"spin_count": None}
    assert result.default_spinning == {"spin_count": default}
