import io

import pytest
from rich.console import Console

from fashioncnn.reporting.tables import (
    CHOSEN_ON_TEST,
    Table,
    confused_pairs_table,
    metrics_tables,
    per_class_table,
    percent,
    summary_table,
)

SUMMARY = {
    "epochs": 20,
    "selected_epoch": 20,
    "final_train_loss": 0.0952,
    "best_test_accuracy": {"value": 0.9304, "epoch": 17},
    "lowest_test_loss": {"value": 0.2126, "epoch": 9},
    "final_test_accuracy": 0.9269,
    "final_test_loss": 0.2549,
}


def test_summary_has_the_described_rows_and_marks_what_was_chosen_on_test():
    rows = {row[0]: row[1:] for row in summary_table(SUMMARY).rows}
    assert rows == {
        "Best test accuracy": ("93.04%", "17", CHOSEN_ON_TEST),
        "Lowest test loss": ("0.2126", "9", CHOSEN_ON_TEST),
        "Final test accuracy": ("92.69%", "20", ""),
        "Final test loss": ("0.2549", "20", ""),
        "Final train loss": ("0.0952", "20", ""),
    }


def test_summary_without_curves_has_the_train_loss_alone():
    table = summary_table({"epochs": 3, "selected_epoch": 2, "final_train_loss": 0.5})
    assert [row[0] for row in table.rows] == ["Final train loss", "Epoch kept, by validation"]


def test_markdown_is_well_formed():
    table = Table("T", ("a", "b"), (("x|y", "1"),), note="n")
    assert table.to_markdown().splitlines() == [
        "### T",
        "",
        "| a | b |",
        "| --- | ---: |",
        "| x\\|y | 1 |",
        "",
        "n",
    ]


def test_markup_in_names_is_shown_as_it_is():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(Table("T", ("[red]a",), (("[/b]",),)).to_rich())
    assert "[red]a" in console.export_text()


def test_tables_of_a_judgement(tiny_result):
    judged = tiny_result.metrics["test"]
    overall, per_class, pairs = metrics_tables(judged)
    assert ("Images", "100") in overall.rows
    assert len(per_class.rows) == 10
    assert per_class.note.startswith("Best: ")
    assert len(pairs.rows) == 5
    assert pairs.rows[0][3] == f"{judged['confused_pairs'][0]['count']}×"


def test_a_class_without_images_has_no_accuracy(tiny_result):
    judged = {**tiny_result.metrics["test"]}
    judged["per_class"] = [*judged["per_class"]]
    judged["per_class"][0] = {**judged["per_class"][0], "n": 0, "accuracy": None}
    assert per_class_table(judged).rows[0][2] == "–"


def test_flawless_judgements_have_no_confused_pairs(tiny_result):
    assert confused_pairs_table({**tiny_result.metrics["test"], "confused_pairs": []}).rows == ()


@pytest.mark.parametrize(("value", "text"), [(0.92694, "92.69%"), (1.0, "100.00%"), (None, "–")])
def test_percent(value, text):
    assert percent(value) == text


def test_markup_in_titles_is_shown_as_it_is():
    table = Table("closet [old] [/x]\x1b[31m", ("name",), (("a",),))
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(table.to_rich())
    shown = "".join(console.file.getvalue().split())  # in lines as wide as the table
    assert shown.startswith("closet[old][/x]\N{REPLACEMENT CHARACTER}[31m")
