import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from optuna.trial import TrialState

from fashioncnn.errors import RunError
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
