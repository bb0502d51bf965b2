"""Tables and number formats."""

import io

import pytest
from rich.console import Console

from fashioncnn.evaluation.statistics import MeanStd
from fashioncnn.reporting.run_report import read_run
from fashioncnn.reporting.tables import (
    CHOSEN_ON_TEST,
    Table,
    class_summary,
    confused_pairs_table,
    coverage_table,
    escape_markdown,
    format_mean_std,
    metrics_table,
    metrics_tables,
    per_class_table,
    percent,
    percent_interval,
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


@pytest.fixture
def evaluation(run):
    return read_run(run).evaluation


def by_accuracy(*accuracies):
    """Return an evaluation with classes 0, 1, 2 … of these accuracies."""
    return {
        "per_class": [
            {"code": code, "name": str(code), "n": 0 if a is None else 10, "accuracy": a}
            for code, a in enumerate(accuracies)
        ]
    }


def test_summary_marks_numbers_chosen_on_the_test_set():
    rows = {row[0]: row[1:] for row in summary_table(SUMMARY).rows}
    assert rows == {
        "Best test accuracy": ("93.04%", "17", CHOSEN_ON_TEST),
        "Lowest test loss": ("0.2126", "9", CHOSEN_ON_TEST),
        "Final test accuracy": ("92.69%", "20", ""),
        "Final test loss": ("0.2549", "20", ""),
        "Final train loss": ("0.0952", "20", ""),
    }


def test_summary_without_curves_has_train_loss_and_selected_epoch():
    table = summary_table({"epochs": 3, "selected_epoch": 2, "final_train_loss": 0.5})
    assert table.rows == (
        ("Final train loss", "0.5000", "3", ""),
        ("Selected weights", "", "2", "best on validation"),
    )


def test_markdown_table_is_well_formed():
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


def test_rich_markup_in_names_is_shown_literally():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(Table("T", ("[red]a",), (("[/b]",),)).to_rich())
    assert "[red]a" in console.export_text()


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("<b>&amp;</b>", "&lt;b&gt;&amp;amp;&lt;/b&gt;"),
        ("a|b`c`", r"a\|b\`c\`"),
        ("*a* [b](c) ~~d~~", r"\*a\* \[b\](c) \~\~d\~\~"),
        ("model.kernel_size", "model.kernel_size"),
        ("_a_ b_", r"\_a\_ b\_"),
        ("two\nlines", "two\N{REPLACEMENT CHARACTER}lines"),
        ("T-shirt/top 92.69%", "T-shirt/top 92.69%"),
    ],
)
def test_markdown_is_escaped(text, escaped):
    assert escape_markdown(text) == escaped


def test_tables_of_an_evaluation(evaluation):
    overall, per_class, pairs = metrics_tables(evaluation)
    assert overall.title == "sketches, test split"
    assert ("Images", "100") in overall.rows
    assert len(per_class.rows) == 10
    assert per_class.note == class_summary(evaluation)
    assert len(pairs.rows) == 5
    assert pairs.rows[0][3] == f"{evaluation['confused_pairs'][0]['count']}×"


def test_flip_tta_doubles_the_multiply_adds_and_is_in_the_title(evaluation):
    table = metrics_table({**evaluation, "tta": "flip"})
    assert table.title == "sketches, test split, flip TTA"
    assert ("Multiply-adds per image", "11,356") in table.rows


def test_metrics_after_temperature_scaling_follow_those_before(evaluation):
    calibrated = {"temperature": 1.5, "loss": 0.25, "ece": 0.0125}
    rows = metrics_table({**evaluation, "calibrated": calibrated}).rows
    names = [row[0] for row in rows]
    assert names[2:6] == [
        "Loss",
        "Loss at temperature 1.50",
        "Calibration error (ECE, 15 bins)",
        "ECE at temperature 1.50",
    ]
    assert (rows[3][1], rows[5][1]) == ("0.2500", "0.0125")


def test_class_without_images_has_no_accuracy(evaluation):
    first, *others = evaluation["per_class"]
    per_class = [{**first, "n": 0, "accuracy": None}, *others]
    assert per_class_table({**evaluation, "per_class": per_class}).rows[0][2] == "–"


@pytest.mark.parametrize(
    ("accuracies", "text"),
    [
        ([0.8, 0.2, 0, 0, 0], "Best: 0 (80.00%), 1 (20.00%). Hardest: 2, 3, 4 (0.00%)."),
        ([0, 0, 0, 0, 0.8], "Best: 4 (80.00%). Hardest: 4 classes (0.00%)."),
        (
            [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
            "Best: 0 (90.00%), 1 (80.00%), 2 (70.00%). Hardest: 5 (40.00%).",
        ),
        ([None, 1, 1, 1, 0.5], "Best: 1 (100.00%), 2 (100.00%). Hardest: 4 (50.00%)."),
        ([0.9, 0.8, 0.7], ""),
        ([0.5] * 6, ""),
    ],
)
def test_class_summary_names_the_best_and_the_hardest_classes(accuracies, text):
    assert class_summary(by_accuracy(*accuracies)) == text


def test_evaluation_without_errors_has_no_confused_pairs(evaluation):
    assert confused_pairs_table({**evaluation, "confused_pairs": []}).rows == ()


@pytest.mark.parametrize(("value", "text"), [(0.92694, "92.69%"), (1.0, "100.00%"), (None, "–")])
def test_percent_has_two_decimals(value, text):
    assert percent(value) == text


def test_markup_and_control_characters_in_titles_are_shown_literally():
    table = Table("closet [old] [/x]\x1b[31m", ("name",), (("a",),))
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(table.to_rich())
    shown = "".join(console.file.getvalue().split())  # in lines as wide as the table
    assert shown.startswith("closet[old][/x]\N{REPLACEMENT CHARACTER}[31m")


def test_percent_interval_has_one_unit():
    assert percent_interval([0.92171, 0.9318]) == "92.17–93.18%"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (MeanStd(5, 0.926, 0.0012), "92.60 ± 0.12%"),
        (MeanStd(1, 0.926, None), "92.60%"),
    ],
)
def test_mean_and_std_are_formatted_in_the_same_unit(value, text):
    assert format_mean_std(value, scale=100, digits=2, unit="%") == text


def test_latex_escapes_every_special_character():
    table = Table(
        "100%\n\\end{x}", ("a&b", "c"), ((r"x_1 \ {~^} #$<>|", "1 ± 2 – 3"),), "lr", "n\no"
    )
    lines = table.to_latex().splitlines()
    assert lines[0] == "% 100%\N{REPLACEMENT CHARACTER}\\end{x}; needs \\usepackage{booktabs}"
    assert lines[3] == r"a\&b & c \\"
    assert lines[5] == (
        r"x\_1 \textbackslash{} \{\textasciitilde{}\textasciicircum{}\} \#\$\textless{}"
        r"\textgreater{}\textbar{} & 1 $\pm$ 2 -- 3 \\"
    )
    assert lines[-1] == "% n\N{REPLACEMENT CHARACTER}o"


def test_images_of_several_correct_classes_are_a_row_of_their_own(evaluation):
    sets = [
        {
            "codes": [0],
            "names": ["T-shirt/top"],
            "n": 4,
            "correct": 3,
            "accuracy": 0.75,
            "errors": 1,
        },
        {"codes": [5, 7], "names": ["a", "b"], "n": 2, "correct": 2, "accuracy": 1.0, "errors": 0},
    ]
    table = per_class_table({**evaluation, "partial_labels": 2, "per_label_set": sets})
    assert table.rows == (("0", "T-shirt/top", "75.00%", "1"), ("5, 7", "a or b", "100.00%", "0"))


@pytest.mark.parametrize(
    ("accuracy", "text"),
    [(0.9, "Abstained: 2 of 12 images; accuracy on the others 90.00%."), (None, "of 12 images.")],
)
def test_accuracy_of_answers_is_beside_the_abstentions(accuracy, text):
    metrics = {"coverage": [], "abstained": 2, "n": 12, "outside": None}
    note = coverage_table({**metrics, "answered_accuracy": accuracy}).note
    assert note.endswith(text)
