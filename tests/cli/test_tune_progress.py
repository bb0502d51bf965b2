import io

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from rich.console import Console

from fashioncnn.cli.tune_progress import (
    LiveTable,
    TrialLines,
    make_search_callback,
    progress_line,
    trial_line,
)
from fashioncnn.tuning.progress import SearchProgress

from ..reporting.test_search import DIMENSIONS, TRIALS, make_trial


@pytest.fixture
def progress(monkeypatch):
    """Progress after 60 s, in which three of five trials were finished."""
    monkeypatch.setattr("time.monotonic", lambda: 160.0)
    return SearchProgress(TRIALS, target=10, epochs=6, started=100.0, finished_before=2)


def test_progress_line_has_counts_rate_and_remaining_time(progress):
    assert progress_line(progress) == (
        "5 of 10 trials · 1 pruned, 1 failed, 1 interrupted · 180 per hour · 1:40 left"
    )


def test_progress_line_without_target_has_no_remaining_time(progress):
    progress.target = float("inf")
    assert progress_line(progress).endswith("180 per hour")


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (1, "5/10  trial 1  loss 0.2500  90.00%  30 s  best 0.2500 (trial 1)  learning_rate"),
        (2, "5/10  trial 2  failed: the loss became <nan>  best"),
        (3, "5/10  trial 3  loss 0.9000  90.00%  30 s  pruned after epoch 2  best"),
        (5, "5/10  trial 5  interrupted, its worker was killed; queued again  best"),
    ],
)
def test_trial_line_has_the_result(progress, number, line):
    assert trial_line(TRIALS[number], progress, DIMENSIONS).startswith(line)


def test_lines_are_used_without_terminal(progress, capsys):
    callback = make_search_callback(DIMENSIONS)
    assert isinstance(callback, TrialLines)
    callback.on_update(progress)
    callback.on_trial_end(TRIALS[1], progress)
    callback.close()
    assert capsys.readouterr().err.count("\n") == 1


def test_live_table_shows_best_and_running_trials(progress):
    progress.trials = [*TRIALS, make_trial(7, "running", loss=0.7, epochs=2)]
    table = LiveTable(DIMENSIONS)
    table.live.console = Console(file=io.StringIO(), force_terminal=True, width=80)
    table.on_update(progress)
    table.on_trial_end(TRIALS[2], progress)
    table.close()
    output = table.live.console.file.getvalue()
    assert "trial 7: epoch 3/6, loss 0.7000" in output
    assert "5 of 10 trials" in output
    assert "failed: the loss became <nan>" in output
    assert "learning_rate" in output
