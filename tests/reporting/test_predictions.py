import csv
import io
import json

import numpy as np
import pytest
from rich.cells import cell_len

from fashioncnn.inference.predictor import Prediction
from fashioncnn.reporting.predictions import FORMATS, HELD, as_answer, as_table

CLASSES = ("Bag", "Coat", "=Shirt")
ROW = np.array([0.25, 0.125, 0.625])


def answers(n=2, source="a{}.png", top=2):
    return [as_answer(Prediction(source.format(i), ROW, None), CLASSES, top) for i in range(n)]


def failed(source="b.png"):
    return as_answer(Prediction(source, None, f"{source}: damaged"), CLASSES, 2)


def written(kind, values, top=2):
    return "".join(FORMATS[kind](iter(values), "model", top))


def test_an_answer_has_the_likeliest_first():
    assert answers(1)[0] == {
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
    document = json.loads(written("json", answers(n)))
    assert document == {"schema": 1, "model": "model", "predictions": answers(n)}
    assert list(document) == ["schema", "model", "predictions"]


def test_json_lines_are_a_document_each():
    values = [*answers(2, "new\nline{}.png"), failed()]
    assert [json.loads(line) for line in written("jsonl", values).splitlines()] == values


def test_csv_reads_back():
    values = [*answers(2, 'com,ma "{}"\nline.png'), failed()]
    rows = list(csv.DictReader(io.StringIO(written("csv", values), newline="")))
    assert [row["source"] for row in rows] == [value["source"] for value in values]
    assert rows[0]["code_1"] == "2"
    assert float(rows[0]["probability_2"]) == 0.25
    assert (rows[2]["code_1"], rows[2]["error"]) == ("", "b.png: damaged")
    assert {row["abstained"] for row in rows} == {"false"}


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_csv_holds_no_formula(first):
    name = f"{first}cmd|' /C calc'!A0.png"
    rows = list(
        csv.reader(io.StringIO(written("csv", [*answers(1, name), failed(name)]), newline=""))
    )
    for row in rows:
        for cell in row:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert rows[1][0] == f"'{name}"
    assert rows[1][2] == "'=Shirt"
    assert rows[2][-1] == f"'{name}: damaged"


def test_a_number_in_csv_stays_a_number():
    assert written("csv", answers(1)).splitlines()[1] == "a0.png,2,'=Shirt,0.625,0,Bag,0.25,,false,"


def test_table_is_aligned_and_leaves_out_what_could_not_be_read():
    reshape_per_image = answers(1, "長い名前.png")
    lines = written("table", [*answers(1), failed(), *reshape_per_image]).splitlines()
    assert lines[0] == "Predictions"
    assert lines[2].split() == ["Image", "1.", "2."]
    assert lines[4].startswith("a0.png        =Shirt 62.5%  Bag 25.0%")
    assert lines[5].startswith("長い名前.png  =Shirt 62.5%  Bag 25.0%")
    assert len(lines) == 6
    assert written("table", [failed()]) == ""


def test_names_cannot_steer_the_terminal():
    steering = [*answers(1, "\x1b[31m\n{}.png"), *answers(1, "\udcff.png")]
    text = written("table", steering)
    assert len(text.splitlines()) == 6
    for kind in FORMATS:
        text = written(kind, steering)
        assert "\x1b" not in text
        text.encode()


@pytest.mark.parametrize("kind", FORMATS)
def test_everything_is_written_as_it_comes(kind):
    given = 0

    def endless():
        nonlocal given
        while True:
            given += 1
            yield answers(1)[0]

    pieces = FORMATS[kind](endless(), "model", 2)
    for _ in range(500):
        next(pieces)
    assert given <= 500 + HELD


@pytest.mark.parametrize("name", ["folder/" * 20 + "coat{}.png", "服" * 60 + "{}.png"])
def test_a_table_fits_its_room_by_the_ends_of_long_names(name):
    values = [*answers(HELD, name), *answers(2, "longer/" + name), *answers(1, "short{}.png")]
    lines = "".join(as_table(iter(values), "model", 2, room=60)).splitlines()
    assert max(map(cell_len, lines)) <= 60
    assert lines[4].startswith("…")
    assert lines[4].split()[0].endswith("0.png")
    assert lines[-1].startswith("short0.png  ")
    assert name.format(0) in written("table", values), "names are whole where room is not told"


def test_a_table_keeps_some_of_a_name_however_narrow_the_room():
    lines = "".join(as_table(iter(answers(1, "a" * 30 + "{}.png")), "model", 2, room=10))
    assert "…aaaaaa0.png  =Shirt" in lines
