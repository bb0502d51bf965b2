import math
import re
from dataclasses import replace

import pytest

from fashioncnn.reporting.search import SearchReport, to_markdown, write_search_report
from fashioncnn.reporting.search_figures import loss_limit
from fashioncnn.reporting.search_tables import best_trials_table, importance_table
from fashioncnn.reporting.trials import (
    Dimension,
    Trial,
    best_trial,
    count_states,
    format_value,
    rank_trials,
)

DIMENSIONS = [
    Dimension("optimizer.learning_rate", "learning_rate", 1e-4, 1e-2, log=True),
    Dimension("model.channels", "channels", 0, 1, choices=([4, 8], [8, 16])),
    Dimension("augmentation.shift", "shift", 0, 2),
]


def make_trial(number, state="complete", loss=0.3, rate=1e-3, channels=(8, 16), **fields):
    values = {
        "number": number,
        "state": state,
        "loss": loss,
        "accuracy": 0.9,
        "epochs": 2,
        "seconds": 30.0,
        "parameters": {
            "optimizer.learning_rate": rate,
            "model.channels": list(channels),
            "augmentation.shift": 1,
        },
        "from_recipe": False,
        "reason": None,
    }
    return Trial(**{**values, **fields})


TRIALS = [
    make_trial(0, from_recipe=True),
    make_trial(1, loss=0.25, rate=2e-3),
    make_trial(2, "failed", loss=None, accuracy=None, reason="the loss became <nan>"),
    make_trial(3, "pruned", loss=0.9),
    make_trial(4, loss=2.3, channels=(4, 8)),
    make_trial(5, "interrupted", loss=None, seconds=None, reason="was killed"),
    make_trial(6, "waiting", loss=None, seconds=None),
]


@pytest.fixture
def report():
    return SearchReport(
        "baseline", "own", "TPE", 2, TRIALS, DIMENSIONS, {"model.channels": 0.8}, "epochs = 2\n"
    )


@pytest.mark.parametrize(
    ("rate", "fraction"), [(1e-4, 0), (1e-3, 0.5), (1e-2, 1)], ids=["low", "middle", "high"]
)
def test_fraction_along_a_logarithmic_range(rate, fraction):
    assert DIMENSIONS[0].fraction(make_trial(0, rate=rate)) == pytest.approx(fraction)


def test_fraction_along_choices_is_their_order():
    trials = [make_trial(0, channels=channels) for channels in ((4, 8), (8, 16))]
    assert [DIMENSIONS[1].fraction(trial) for trial in trials] == [0, 1]


def test_complete_trials_are_ranked_by_loss_then_number():
    trials = [*TRIALS, make_trial(7, loss=0.25)]
    assert [trial.number for trial in rank_trials(trials)] == [1, 7, 0, 4]
    assert best_trial(trials).number == 1
    assert best_trial(TRIALS[2:4]) is None


def test_table_has_the_best_complete_trials_as_columns():
    table = best_trials_table(TRIALS, DIMENSIONS, 2)
    assert table.header == ("Trial", "1", "0*")
    assert table.rows[:3] == (
        ("Loss", "0.2500", "0.3000"),
        ("Accuracy", "90.00%", "90.00%"),
        ("Time", "30 s", "30 s"),
    )
    assert ("learning_rate", "0.002", "0.001") in table.rows
    assert ("channels", "8, 16", "8, 16") in table.rows
    assert "values of the recipe" in table.note
    assert best_trials_table(TRIALS, DIMENSIONS, 1).note == ""


def test_time_that_is_missing_in_the_journal_is_a_dash():
    table = best_trials_table([make_trial(0, seconds=None)], DIMENSIONS, 1)
    assert ("Time", "–") in table.rows


def test_importances_are_sorted():
    importances = {"augmentation.shift": 0.1, "model.channels": 0.9}
    assert importance_table(importances, DIMENSIONS).rows == (("channels", "90%"), ("shift", "10%"))


def test_page_is_self_contained_and_escapes_text(report, tmp_path):
    page = write_search_report(report, tmp_path).read_text()
    assert "3 complete, 1 pruned, 1 failed" in page
    assert "the loss became &lt;nan&gt;" in page
    assert "this is not Fashion-MNIST" in page
    assert not re.search(r'(src|href)="http', page)


def test_figures_of_the_page_have_text_alternatives(report, tmp_path):
    page = write_search_report(report, tmp_path).read_text()
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', page)
    assert page.count("<svg") == len(labels) == 3 + len(DIMENSIONS)
    assert "Validation loss by trial: 3 complete, 1 pruned; lowest 0.2500 in trial 1" in labels
    assert "Importance of each setting: channels 80%" in labels


def test_page_of_a_single_trial_has_no_importances(report, tmp_path):
    report = replace(report, trials=TRIALS[:1], importances={})
    page = write_search_report(report, tmp_path).read_text()
    assert page.count("<svg") == 2 + len(DIMENSIONS)
    assert "NaN" not in page


def test_long_choice_labels_are_rotated(report, tmp_path):
    choices = tuple([size, 20 * size, 40 * size] for size in (8, 16, 32))
    parameters = {"model.channels": [8, 160, 320]}
    report = replace(
        report,
        trials=[make_trial(0, parameters=parameters)],
        dimensions=[Dimension("model.channels", "channels", 0, 2, choices=choices)],
        importances={},
    )
    page = write_search_report(report, tmp_path).read_text()
    assert re.search(r'rotate\(-30[^"]*"[^>]*>8, 160, 320<', page)


def test_markdown_has_tables_and_best_recipe(report):
    text = to_markdown(report)
    assert "| channels | 80% |" in text
    assert "```toml\nepochs = 2\n```" in text


def test_high_losses_are_drawn_at_the_limit():
    assert loss_limit([0.25, 0.26, 0.27, 0.3, 2.3]) == pytest.approx(0.31)
    assert loss_limit([0.3, 0.3]) == 0.3
    assert loss_limit([0.3, 0.3, 9.0]) == 9.0


def test_values_are_formatted_with_four_digits():
    assert format_value(0.0012345) == "0.001234"
    assert format_value([16, 32]) == "16, 32"
    assert format_value(math.pi * 100) == "314.2"


def test_counts_omit_states_without_trials():
    assert count_states(TRIALS[:2], "complete", "pruned") == "2 complete"
