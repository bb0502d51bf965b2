import math
import re

import pytest

from fashioncnn.reporting.search import (
    SearchReport,
    best_columns,
    best_table,
    counted,
    to_markdown,
    write_search_report,
)
from fashioncnn.reporting.search_figures import Scale, highest_shown, value_text

SCALES = [
    Scale("optimizer.learning_rate", "learning_rate", 1e-4, 1e-2, log=True),
    Scale("model.channels", "channels", 0, 1, choices=([4, 8], [8, 16])),
    Scale("augmentation.shift", "shift", 0, 2),
]


def trial(number, state="complete", loss=0.3, rate=1e-3, channels=(8, 16), **more):
    values = {
        "optimizer.learning_rate": rate,
        "model.channels": list(channels),
        "augmentation.shift": 1,
    }
    return {
        "number": number,
        "state": state,
        "loss": loss,
        "accuracy": 0.9,
        "epochs": 2,
        "seconds": 30.0,
        "parameters": values,
        "own": False,
        "reason": None,
        **more,
    }


TRIALS = [
    trial(0, own=True),
    trial(1, loss=0.25, rate=2e-3),
    trial(2, "failed", loss=None, accuracy=None, reason="the loss became <nan>"),
    trial(3, "pruned", loss=0.9),
    trial(4, loss=2.3, channels=(4, 8)),
    trial(5, "lost", loss=None, seconds=None),
    trial(6, "waiting", loss=None, seconds=None),
]


@pytest.fixture
def report():
    return SearchReport(
        "baseline", "own", "TPE", 2, TRIALS, SCALES, {"model.channels": 0.8}, "epochs = 2\n"
    )


@pytest.mark.parametrize(
    ("rate", "share"), [(1e-4, 0), (1e-3, 0.5), (1e-2, 1)], ids=["low", "middle", "high"]
)
def test_places_on_a_logarithmic_scale(rate, share):
    assert SCALES[0].share(trial(0, rate=rate)) == pytest.approx(share)


def test_choices_have_places_in_their_order():
    assert [SCALES[1].share(trial(0, channels=c)) for c in ((4, 8), (8, 16))] == [0, 1]


def test_tables_begin_with_the_best_and_leave_out_what_did_not_complete():
    rows = best_table(TRIALS, SCALES).rows
    assert [row[0] for row in rows] == ["1", "0*", "4"]
    assert rows[0] == ("1", "0.2500", "90.00%", "30 s", "0.002", "8, 16", "1")
    columns = best_columns(TRIALS, SCALES, 2)
    assert columns.header == ("Trial", "1", "0*")
    assert ("learning_rate", "0.002", "0.001") in columns.rows
    assert "recipe's own" in columns.note


def test_the_page_shows_all_and_needs_no_network(report, tmp_path):
    page = write_search_report(report, tmp_path).read_text()
    assert page.count("<svg") == 4
    for said in ("3 complete, 1 stopped early, 1 failed", "the loss became &lt;nan&gt;"):
        assert said in page
    assert "this is not Fashion-MNIST" in page
    assert not re.search(r'(src|href)="http', page)
    assert "channels | 80%" in (tmp_path / "report.md").read_text()


def test_a_single_trial_is_drawn(report, tmp_path):
    values = {**vars(report), "trials": TRIALS[:1], "importances": {}}
    page = write_search_report(SearchReport(**values), tmp_path).read_text()
    assert page.count("<svg") == 3
    assert "NaN" not in page


def test_markdown_holds_the_recipe(report):
    assert "```toml\nepochs = 2\n```" in to_markdown(report)


def test_bad_losses_leave_room_for_good_ones():
    losses = [0.25, 0.26, 0.27, 0.3, 2.3]
    assert highest_shown([{"loss": v} for v in losses]) == pytest.approx(0.31)
    assert highest_shown([{"loss": 0.3}, {"loss": 0.3}]) == 0.3
    assert highest_shown([{"loss": 0.3}, {"loss": 0.3}, {"loss": 9.0}]) == 9.0


def test_values_as_people_write_them():
    assert value_text(0.0012345) == "0.001234"
    assert value_text([16, 32]) == "16, 32"
    assert value_text(math.pi * 100) == "314.2"
    assert counted({"complete": 1, "pruned": 0}, ("complete", "pruned")) == "1 complete"
