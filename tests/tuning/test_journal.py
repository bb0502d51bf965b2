import json
import random

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from optuna.trial import TrialState

from fashioncnn.errors import FashionCNNError, RunError
from fashioncnn.tuning.journal import repair_journal
from fashioncnn.tuning.trials import read_trials

from .helpers import ask, complete_trials, finished_results, reopen


def test_journal_cut_anywhere_is_repaired_to_its_last_complete_line(folder, config, study):
    complete_trials(study, config, 1)
    ask(study, config).report(0.4, 1)
    content = folder.journal.read_bytes()
    lines = content.splitlines(keepends=True)
    ends = [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]
    for end in ends:
        for cut in {max(end - 1, 0), end, min(end + 1, len(content)), min(end + 40, len(content))}:
            folder.journal.write_bytes(content[:cut])
            expected = max(e for e in ends if e <= cut)
            assert repair_journal(folder.journal) == cut - expected
            assert folder.journal.read_bytes() == content[:expected]


def test_search_resumed_from_every_line_of_the_journal_repeats_its_trials(folder, config, study):
    complete_trials(study, config, 2)
    ask(study, config).report(0.4, 1)
    expected = finished_results(read_trials(study, config))
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    for n in range(len(lines)):
        folder.journal.write_bytes(b"".join(lines[:n]))
        resumed = reopen(folder, config)
        assert not resumed.get_trials(states=(TrialState.RUNNING,))
        kept = finished_results(read_trials(resumed, config))
        assert kept == expected[: len(kept)]
        complete_trials(resumed, config, 2 - len(kept))
        assert finished_results(read_trials(resumed, config)) == expected


def test_zero_filled_end_is_removed(folder, study):
    content = folder.journal.read_bytes()
    folder.journal.write_bytes(content + b"\0" * 5000)
    assert repair_journal(folder.journal) == 5000
    assert folder.journal.read_bytes() == content


def test_journal_damaged_before_its_end_is_rejected(folder, config, study):
    complete_trials(study, config, 1)
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    damaged = b"".join([lines[0], b"rubbish\n", *lines[1:]])
    folder.journal.write_bytes(damaged)
    with pytest.raises(RunError, match="line 2 is damaged"):
        repair_journal(folder.journal)
    assert folder.journal.read_bytes() == damaged


def test_lock_file_of_a_killed_process_is_removed(folder):
    lock = folder.path / "journal.log.lock"
    lock.write_text("")
    assert repair_journal(folder.journal) == 0
    assert not lock.exists()  # Optuna would wait for 30 s


def entries_of(folder):
    return [json.loads(line) for line in folder.journal.read_bytes().splitlines()]


def write_entries(folder, entries):
    folder.journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


@pytest.fixture
def searched(folder, config, study):
    """The folder and the entries of a search with two complete trials and a running one."""
    complete_trials(study, config, 2)
    ask(study, config).report(0.4, 1)
    return folder, entries_of(folder)


FOREIGN = {
    "unknown operation": ({"op_code": 99, "worker_id": "x"}, "unknown operation 99"),
    "deleted study": ({"op_code": 1, "worker_id": "x", "study_id": 0}, "unknown operation 1"),
    "other study": (
        {"op_code": 0, "worker_id": "x", "study_name": "other", "directions": [1]},
        "another study",
    ),
    "trial of another study": (
        {"op_code": 4, "worker_id": "x", "study_id": 1, "datetime_start": None},
        "another study",
    ),
    "unknown trial": (
        {"op_code": 8, "worker_id": "x", "trial_id": 70, "user_attr": {"attempt": 1}},
        "trial 70 does not exist",
    ),
    "trial number as text": (
        {"op_code": 8, "worker_id": "x", "trial_id": "0", "user_attr": {"attempt": 1}},
        "trial '0' does not exist",
    ),
    "finished trial": (
        {"op_code": 7, "worker_id": "x", "trial_id": 0, "step": 2, "intermediate_value": 0.1},
        "trial 0 is finished already",
    ),
    "unknown state": (
        {"op_code": 6, "worker_id": "x", "trial_id": 2, "state": 9, "values": None},
        "unknown state 9",
    ),
    "infinite loss": (
        {"op_code": 7, "worker_id": "x", "trial_id": 2, "step": 2, "intermediate_value": "inf"},
        "a loss that is not a finite number",
    ),
    "no operation": ({"worker_id": "x"}, "fields of its operation are missing or invalid"),
    "no process": ({"op_code": 4, "study_id": 0}, "fields of its operation are missing"),
}


@pytest.mark.parametrize(("entry", "problem"), FOREIGN.values(), ids=FOREIGN)
def test_foreign_entry_is_rejected_with_its_line(searched, config, entry, problem):
    folder, entries = searched
    write_entries(folder, [*entries[:-1], entry, entries[-1]])
    with pytest.raises(RunError) as caught:
        reopen(folder, config)
    assert f"line {len(entries)}: {problem}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_journal_without_one_entry_is_rejected_or_repeats_what_is_missing(searched, config):
    """An entry at the end of a trial may be missing: then its trial counts as interrupted."""
    folder, entries = searched
    rejected = 0
    for position in range(len(entries)):
        write_entries(folder, entries[:position] + entries[position + 1 :])
        try:
            study = reopen(folder, config)
        except RunError as error:
            assert "\n" not in str(error)
            rejected += 1
        else:
            results = read_trials(study, config)
            assert all(t.loss is not None for t in results if t.state == "complete")
    assert rejected >= len(entries) // 3


def test_entry_of_another_search_space_is_rejected(searched, config):
    folder, entries = searched
    for entry in entries:
        if entry["op_code"] == 5:
            entry["distribution"] = entry["distribution"].replace("0.7", "0.9")
    write_entries(folder, entries)
    with pytest.raises(RunError, match=r"not the journal of this search.*other settings or ranges"):
        reopen(folder, config)


@pytest.mark.parametrize("value", [{"a": 1}, [], None, "0.5", True, 1e9, -1], ids=str)
def test_queued_values_that_cannot_be_drawn_are_rejected(folder, config, study, value):
    complete_trials(study, config, 1)
    study.enqueue_trial(study.trials[0].params)
    entries = entries_of(folder)
    reopen(folder, config)
    for key in config.space:
        changed = json.loads(json.dumps(entries))
        attributes = (entry.get("system_attrs") or {} for entry in changed)
        next(x for x in attributes if "fixed_params" in x)["fixed_params"][key] = value
        write_entries(folder, changed)
        with pytest.raises(RunError, match="not the journal of this search"):
            reopen(folder, config)


def mutate(entries, rng):
    """Change, remove, repeat or swap something in the entries of a journal."""
    entries = json.loads(json.dumps(entries))
    position = rng.randrange(len(entries))
    kind = rng.randrange(5)
    if kind == 0:
        del entries[position]
    elif kind == 1:
        entries.insert(rng.randrange(len(entries)), entries[position])
    elif kind == 2:
        other = rng.randrange(len(entries))
        entries[position], entries[other] = entries[other], entries[position]
    else:
        key = rng.choice(list(entries[position]))
        strange = [None, -1, 0, 1, 2, 3.5, 1e308, "", "x", [], {}, [None], {"a": 1}, True, 10**30]
        if kind == 3:
            entries[position][key] = rng.choice(strange)
        else:
            del entries[position][key]
    return entries


@pytest.mark.parametrize(
    "count", [150, pytest.param(3000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_mutated_journal_is_rejected_in_one_line_or_usable(searched, config, count):
    folder, entries = searched
    rng = random.Random(count)
    for _ in range(count):
        write_entries(folder, mutate(entries, rng))
        try:
            read_trials(reopen(folder, config), config)
        except FashionCNNError as error:
            assert "\n" not in str(error)


@pytest.mark.slow
def test_every_byte_of_a_journal_changed_once(searched, config):
    folder, _ = searched
    content = folder.journal.read_bytes()
    rng = random.Random(0)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << rng.randrange(8)
        folder.journal.write_bytes(changed)
        try:
            read_trials(reopen(folder, config), config)
        except FashionCNNError as error:
            assert "\n" not in str(error)
