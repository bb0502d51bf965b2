"""The attacks of torture.py find faults, and its table states the recorded results."""

import json
import random

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

import torture
from attacks import mutations, parsers
from attacks.lab import Outcome
from attacks.scenarios import Ended

PLAIN = "fashioncnn: run: damaged; start a new run with --from run\n"


def test_table_of_the_guide_states_the_recorded_results():
    document = json.loads(torture.RECORDED.read_text("utf-8"))
    assert torture.table(document) in torture.GUIDE.read_text("utf-8")
    assert list(document["attacks"]) == list(torture.ATTACKS)


def test_fractions_of_the_time_add_up_to_one():
    assert sum(attack.fraction for attack in torture.ATTACKS.values()) == pytest.approx(1)


def test_failed_attempts_are_counted_and_described():
    outcome = Outcome()
    outcome.add("byte 1", None)
    outcome.add("byte 2", "exit code 70")
    assert (outcome.attempts, outcome.failures) == (2, ["byte 2: exit code 70"])


@pytest.mark.parametrize(
    ("ended", "problem"),
    [
        (Ended(0, "", ""), None),
        (Ended(1, "", PLAIN), None),
        (
            Ended(1, "", "fashioncnn: run: damaged\n"),
            "no way to continue: fashioncnn: run: damaged",
        ),
        (Ended(1, "", f"Traceback\n{PLAIN}"), f"exit code 1: {PLAIN.strip()}"),
        (Ended(1, "", f"{PLAIN}{PLAIN}"), f"exit code 1: {PLAIN.strip()}"),
        (Ended(-11, "", ""), "exit code -11: "),
    ],
    ids=["success", "plain error", "no remedy", "traceback", "two errors", "crash"],
)
def test_end_of_a_continued_command_is_checked(ended, problem):
    assert ended.problem({"a": b"1"}, {"a": b"1"}) == problem


def test_another_result_of_a_continued_command_is_a_problem():
    ended = Ended(0, "", "done")
    assert ended.problem({"a": b"1"}, {"a": b"2"}) == "content differs: ['a'] (done)"
    assert ended.problem({"a": b"1"}, {}) == "files differ: ['a'] (done)"


def test_mutations_are_a_function_of_the_seed_and_change_the_input():
    content = bytes(range(200))
    mutated = [mutations.mutate(random.Random(seed), content) for seed in range(50)]
    assert mutated == [mutations.mutate(random.Random(seed), content) for seed in range(50)]
    assert sum(m != content for m in mutated) > 40


def test_attack_that_ends_with_an_exception_is_a_failure(tmp_path):
    pytest.importorskip("atheris", reason="not a dependency")
    (tmp_path / "seeds").mkdir()
    assert parsers._fuzz(tmp_path, "unknown", 1) == (0, "KeyError: 'unknown'")


def test_fuzzing_is_skipped_without_atheris(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert parsers.fuzz(None) == Outcome()
    assert "atheris: skipped, the module is missing" in capsys.readouterr().out


def test_repeated_attacks_replace_recorded_ones_and_are_named():
    document = json.loads(torture.RECORDED.read_text("utf-8")) | {"repeated": ["clock"]}
    new = {"attempts": 7, "failed": 0, "failures": []}
    twice = torture.merged(document, {"minutes": 1.0, "attacks": {"kill": new}})
    assert twice["attacks"]["kill"] == new
    assert list(twice["attacks"]) == list(document["attacks"])
    assert twice["note"].startswith("kill, clock were repeated alone")


def test_attempts_of_another_seed_are_added_and_named():
    document = json.loads(torture.RECORDED.read_text("utf-8"))
    kills = document["attacks"]["kill"]
    new = {"attempts": 7, "failed": 1, "failures": ["train killed"]}
    more = {"command": "make torture ARGS=x", "minutes": 1.0, "attacks": {"kill": new}}
    result = torture.added(document, more)
    assert result["attacks"]["kill"] == {
        "attempts": kills["attempts"] + 7,
        "failed": kills["failed"] + 1,
        "failures": [*kills["failures"], "train killed"],
    }
    assert result["attacks"]["clock"] == document["attacks"]["clock"]
    assert result["note"].endswith("kill include `make torture ARGS=x`")
    assert result["minutes"] == pytest.approx(document["minutes"] + 1)


@pytest.mark.slow
def test_attacks_within_a_minute_find_no_fault(monkeypatch):
    skipped = {
        "kill",
        "worker",
        "signals",
        "two",
        "limits",
        "small",
        "fuzz",
        "properties",
    }  # real processes take longer
    names = [name for name in torture.ATTACKS if name not in skipped]
    monkeypatch.setenv("FASHIONCNN_HOME", "cache")  # restored after the attacks changed it
    results = torture.run_attacks(names, minutes=1, seed=1)
    assert {name: result["failures"] for name, result in results.items() if result["failed"]} == {}
