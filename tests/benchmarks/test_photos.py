"""How photographs are judged, on answers and images made up here."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos():
    return importlib.import_module("photos")


def answer(label, probability):
    """Probabilities of ten classes; the rest is shared by the others."""
    row = np.full(10, (1 - probability) / 9)
    row[label] = probability
    return row


@pytest.fixture
def answers(photos):
    given = {name: np.stack([answer(c[0], 0.9)] * 2) for name, c in photos.CLASSES.items()}
    given["shirt"] = np.stack([answer(6, 0.55), answer(0, 0.35)])  # one right, one wrong
    given["shoes"] = np.stack([answer(5, 0.9), answer(9, 0.9)])  # both are shoes
    given |= {name: np.stack([answer(3, 0.45)]) for name in photos.NONE_OF_THE_TEN}
    return given


def likeliest(answers):
    return {name: given.max(1) for name, given in answers.items()}


def test_a_row_tells_what_is_right(photos, answers):
    cells = [cell.strip() for cell in photos.row("a step", answers).strip("| ").split("|")]
    assert cells[:2] == ["a step", "92.9%"]  # 13 of 14
    assert cells[3] == "92.9%"
    assert cells[4:] == ["100"] * 5 + ["50", "100"]


def test_the_trade_off_counts_what_is_lost_and_avoided(photos, answers):
    lines = photos.trade_off(answers, likeliest(answers), 0.6).splitlines()
    own = next(line for line in lines if "its own" in line)
    assert own == ("| 0.600 (its own) | 1 of 13 | 1 of 1 | 3 of 3 | 0 of 0 | 100.0% of 12 |")
    (lenient,) = [line for line in lines if line.startswith("| 0.300 ")]
    assert "| 0 of 13 | 0 of 1 | 0 of 3 | 0 of 0 | 92.9% of 14 |" in lenient


def test_detection_is_told_of_all_and_of_each(photos, answers):
    table = photos.detections(likeliest(answers))
    assert "| hat, shorts, skirt | 3 | 0.929 |" in table  # one of 14 is less sure than they are
    assert "| hat | 1 | 0.929 |" in table
    assert "noise" not in table
    answers["noise"] = np.stack([answer(0, 0.1)])
    assert "| noise | 1 | 1.000 |" in photos.detections(likeliest(answers))


def test_what_shows_no_clothing_is_drawn_alike_each_time(photos, tmp_path):
    not_clothing = importlib.import_module("not_clothing")
    not_clothing.draw(tmp_path / "a", 2)
    not_clothing.draw(tmp_path / "b", 2)
    drawn = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.png"))
    assert len(drawn) == 2 * len(photos.NOT_CLOTHING)
    assert {str(path.parent) for path in drawn} == set(photos.NOT_CLOTHING)
    for path in drawn:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    first = [Image.open(tmp_path / "a" / path) for path in drawn]
    assert len({image.tobytes() for image in first}) == len(first), "each is another"


def test_the_drawn_photographs_hold_a_garment_that_is_found():
    from fashioncnn.images.segmentation import CENTER_WEIGHTS, garment_mask

    drawn = importlib.import_module("photo_steps").photographs()
    for photo in drawn.values():
        found = garment_mask(photo, CENTER_WEIGHTS[0]) > 0.5
        assert 0.1 < found.mean() < 0.5
        assert not found[0].any()
        assert not found[-1].any()


def test_what_is_shipped_names_the_drawn_photographs_and_is_unsure_of_noise():
    from fashioncnn.images.views import VIEW_FUNCTIONS
    from fashioncnn.inference.predictor import predict_with_confidence
    from fashioncnn.models.trained_model import load_model

    not_clothing = importlib.import_module("not_clothing")
    drawn = importlib.import_module("photo_steps").photographs()
    model = load_model(Path("photo"))
    images = [*drawn.values(), not_clothing.texture(np.random.default_rng(0))]
    seen = [VIEW_FUNCTIONS["photo"](image, 28) for image in images]
    probabilities, confidences = predict_with_confidence(model, seen)
    named = [model.class_names[code] for code in probabilities.argmax(1)]
    assert named[:-1] == list(drawn)
    assert (confidences >= model.abstain_below).tolist() == [True, True, True, False]
