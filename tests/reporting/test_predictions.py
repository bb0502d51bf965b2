"""Output formats of predictions."""

import csv
import io
import json

import numpy as np
import pytest
from rich.cells import cell_len

from fashioncnn.inference.predictor import Prediction
from fashioncnn.reporting.predictions import (
    FORMATS,
    MIN_NAME_WIDTH,
    SAMPLED_ROWS,
    format_table,
    to_record,
)

CLASSES = ("Bag", "Coat", "=Shirt")
PROBABILITIES = np.array([0.25, 0.125, 0.625])


def records(n=2, source="a{}.png", top=2):
    predictions = (Prediction(source.format(i), PROBABILITIES, None) for i in range(n))
    return [to_record(prediction, CLASSES, top) for prediction in predictions]


def failed(source="b.png"):
    return to_record(Prediction(source, None, f"{source}: damaged"), CLASSES, 2)


def written(name, values, top=2):
    return "".join(FORMATS[name](iter(values), "model", top))


def read_csv(text):
    return list(csv.reader(io.StringIO(text, newline="")))


def test_record_has_the_most_probable_class_first():
    assert records(1)[0] == {
        "source": "a0.png",
        "top": [
            {"code": 2, "name": "=Shirt", "probability": 0.625},
            {"code": 0, "name": "Bag", "probability": 0.25},
        ],
        "confidence": None,
        "abstained": False,
        "error": None,
    }


@pytest.mark.parametrize("n", [0, 1, 3])
def test_json_is_one_document(n):
    document = json.loads(written("json", records(n)))
    assert document == {"schema": 1, "model": "model", "predictions": records(n)}
    assert list(document) == ["schema", "model", "predictions"]


def test_json_lines_has_one_document_per_line():
    values = [*records(2, "new\nline{}.png"), failed()]
    assert [json.loads(line) for line in written("jsonl", values).splitlines()] == values


def test_csv_with_special_characters_is_read_back():
    values = [*records(2, 'com,ma "{}"\nline.png'), failed()]
    rows = list(csv.DictReader(io.StringIO(written("csv", values), newline="")))
    assert [row["source"] for row in rows] == [value["source"] for value in values]
    assert rows[0]["code_1"] == "2"
    assert float(rows[0]["probability_2"]) == 0.25
    assert (rows[2]["code_1"], rows[2]["error"]) == ("", "b.png: damaged")
    assert {row["abstained"] for row in rows} == {"false"}


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_csv_cells_are_never_formulas(first):
    name = f"{first}cmd|' /C calc'!A0.png"
    rows = read_csv(written("csv", [*records(1, name), failed(name)]))
    cells = [cell for row in rows for cell in row]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in cells)
    assert rows[1][0] == f"'{name}"
    assert rows[1][2] == "'=Shirt"
    assert rows[2][-1] == f"'{name}: damaged"


def test_csv_numbers_are_not_quoted():
    assert written("csv", records(1)).splitlines()[1] == "a0.png,2,'=Shirt,0.625,0,Bag,0.25,,false,"


def test_table_is_aligned_and_leaves_out_errors():
    lines = written("table", [*records(1), failed(), *records(1, "長い名前.png")]).splitlines()
    assert lines[0] == "Predictions"
    assert lines[2].split() == ["Image", "1.", "2."]
    assert lines[4:] == [
        "a0.png        =Shirt 62.5%  Bag 25.0%",
        "長い名前.png  =Shirt 62.5%  Bag 25.0%",
    ]
    assert written("table", [failed()]) == ""


def test_table_marks_images_for_which_the_model_abstains():
    prediction = Prediction("a.png", PROBABILITIES, None, abstained=True, confidence=0.25)
    text = written("table", [to_record(prediction, CLASSES, 2)])
    assert "abstained (=Shirt 62.5%)  Bag 25.0%" in text


def test_names_cannot_control_the_terminal():
    values = [*records(1, "\x1b[31m\n{}.png"), *records(1, "\udcff.png")]
    assert len(written("table", values).splitlines()) == 6
    for name in FORMATS:
        text = written(name, values)
        assert "\x1b" not in text
        text.encode()


@pytest.mark.parametrize("name", FORMATS)
def test_predictions_are_written_before_all_are_read(name):
    n_read = 0

    def endless():
        nonlocal n_read
        while True:
            n_read += 1
            yield records(1)[0]

    pieces = FORMATS[name](endless(), "model", 2)
    for _ in range(500):
        next(pieces)
    assert n_read <= 500 + SAMPLED_ROWS


@pytest.mark.parametrize("name", ["folder/" * 20 + "coat{}.png", "服" * 60 + "{}.png"])
def test_table_truncates_the_start_of_long_names_to_the_width(name):
    values = [
        *records(SAMPLED_ROWS, name),
        *records(2, "longer/" + name),
        *records(1, "short{}.png"),
    ]
    lines = "".join(format_table(iter(values), "model", 2, width=60)).splitlines()
    assert max(map(cell_len, lines)) <= 60
    assert lines[4].startswith("…")
    assert lines[4].split()[0].endswith("0.png")
    assert lines[-1].startswith("short0.png  ")


def test_table_without_a_width_has_whole_names():
    name = "folder/" * 20 + "coat{}.png"
    assert name.format(0) in written("table", records(1, name))


def test_table_keeps_a_minimum_of_each_name():
    lines = "".join(format_table(iter(records(1, "a" * 30 + "{}.png")), "model", 2, width=10))
    assert "…aaaaaa0.png  =Shirt" in lines
    assert len("…aaaaaa0.png") == MIN_NAME_WIDTH
