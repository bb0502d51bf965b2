import csv
import io
import json
from functools import partial

import numpy as np
import pytest
from rich.cells import cell_len

from fashioncnn.inference.predictor import Prediction
from fashioncnn.reporting.predictions import FORMATS, SAMPLED_ROWS, format_table, to_record
from fashioncnn.settings import SCHEMA

CLASSES = ("Bag", "Coat", "=Shirt")
PROBABILITIES = np.array([0.25, 0.125, 0.625])


def records(n=2, source="a{}.png", top=2, **values):
    predictions = [Prediction(source.format(i), PROBABILITIES, None, **values) for i in range(n)]
    return [to_record(prediction, CLASSES, top) for prediction in predictions]


def failed(source="b.png"):
    return to_record(Prediction(source, None, f"{source}: damaged"), CLASSES, 2)


def write(name, values, top=2):
    return "".join(FORMATS[name](iter(values), "model", top))


def test_classes_of_a_record_are_sorted_by_probability():
    assert records(1)[0] == {
        "source": "a0.png",
        "top": [
            {"code": 2, "name": "=Shirt", "probability": 0.625},
            {"code": 0, "name": "Bag", "probability": 0.25},
        ],
        "confidence": None,
        "abstained": False,
        "several_garments": False,
        "error": None,
    }


@pytest.mark.parametrize("n", [0, 1, 3])
def test_json_is_one_document(n):
    document = json.loads(write("json", records(n)))
    assert document == {"schema": SCHEMA, "model": "model", "predictions": records(n)}
    assert list(document) == ["schema", "model", "predictions"]


def test_json_lines_are_one_document_each():
    values = [*records(2, "new\nline{}.png"), failed()]
    assert [json.loads(line) for line in write("jsonl", values).splitlines()] == values


def test_csv_can_be_read_back():
    values = [*records(2, 'com,ma "{}"\nline.png'), failed()]
    rows = list(csv.DictReader(io.StringIO(write("csv", values), newline="")))
    assert [row["source"] for row in rows] == [value["source"] for value in values]
    assert rows[0]["code_1"] == "2"
    assert float(rows[0]["probability_2"]) == 0.25
    assert (rows[2]["code_1"], rows[2]["error"]) == ("", "b.png: damaged")
    assert {row["abstained"] for row in rows} == {"false"}


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_csv_contains_no_formulas(first):
    name = f"{first}cmd|' /C calc'!A0.png"
    text = write("csv", [*records(1, name), failed(name)])
    rows = list(csv.reader(io.StringIO(text, newline="")))
    for row in rows:
        for cell in row:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert rows[1][0] == f"'{name}"
    assert rows[1][2] == "'=Shirt"
    assert rows[2][-1] == f"'{name}: damaged"


def test_numbers_in_csv_are_not_escaped():
    assert (
        write("csv", records(1)).splitlines()[1]
        == "a0.png,2,'=Shirt,0.625,0,Bag,0.25,,false,false,"
    )


def test_table_is_aligned_and_omits_errors():
    wide = records(1, "長い名前.png")
    lines = write("table", [*records(1), failed(), *wide]).splitlines()
    assert lines[0] == "Predictions"
    assert lines[2].split() == ["Image", "1.", "2."]
    assert lines[4].startswith("a0.png        =Shirt 62.5%  Bag 25.0%")
    assert lines[5].startswith("長い名前.png  =Shirt 62.5%  Bag 25.0%")
    assert len(lines) == 6
    assert write("table", [failed()]) == ""


def test_table_marks_abstentions():
    text = write("table", records(1, abstained=True))
    assert "a0.png  abstained (=Shirt 62.5%)  Bag 25.0%" in text


def test_names_cannot_control_the_terminal():
    values = [*records(1, "\x1b[31m\n{}.png"), *records(1, "\udcff.png")]
    assert len(write("table", values).splitlines()) == 6
    for name in FORMATS:
        text = write(name, values)
        assert "\x1b" not in text
        text.encode()


@pytest.mark.parametrize("name", FORMATS)
def test_output_is_written_while_records_are_made(name):
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield records(1)[0]

    pieces = FORMATS[name](endless(), "model", 2)
    for _ in range(500):
        next(pieces)
    assert read <= 500 + SAMPLED_ROWS


@pytest.mark.parametrize("name", ["folder/" * 20 + "coat{}.png", "服" * 60 + "{}.png"])
def test_table_truncates_long_names_at_their_start_to_fit_the_terminal(name):
    values = [*records(SAMPLED_ROWS, name), *records(2, "longer/" + name), *records(1, "short.png")]
    lines = "".join(format_table(iter(values), "model", 2, width=60)).splitlines()
    assert max(map(cell_len, lines)) <= 60
    assert lines[4].startswith("…")
    assert lines[4].split()[0].endswith("0.png")
    assert lines[-1].startswith("short.png  ")
    assert name.format(0) in write("table", values)


def test_table_keeps_the_end_of_a_name_on_a_narrow_terminal():
    table = partial(format_table, width=10)
    assert "…aaaaaa0.png  =Shirt" in "".join(table(iter(records(1, "a" * 30 + "{}.png")), "", 2))
