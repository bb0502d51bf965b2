import numpy as np

from fashioncnn.data.contact_sheet import GAP, MARGIN, MIN_LABEL_WIDTH, draw_contact_sheet
from fashioncnn.data.dataset import Split

SIDE = 28
CELL = 2 * SIDE + GAP


def test_sheet_shows_the_first_images_of_each_class_inverted():
    images = np.stack([np.full((SIDE, SIDE), level, np.uint8) for level in (50, 100, 150, 200)])
    split = Split(images, np.array([0, 1, 1, 1], np.uint8))
    sheet = np.asarray(draw_contact_sheet(split, ("a", "b"), "title", columns=2).convert("L"))
    top, left = sheet.shape[0] - MARGIN - 2 * CELL, MARGIN + MIN_LABEL_WIDTH
    cells = [[sheet[top + r * CELL + 5, left + c * CELL + 5] for c in (0, 1)] for r in (0, 1)]
    assert cells == [[205, 255], [155, 105]]
    assert sheet.shape[1] == left + 2 * CELL + MARGIN


def test_sheet_has_a_title_and_labels():
    split = Split(np.zeros((1, SIDE, SIDE), np.uint8), np.zeros(1, np.uint8))
    plain, titled = (
        np.asarray(draw_contact_sheet(split, (name,), title)) for name, title in ((" ", " "), "ab")
    )
    assert (plain != titled)[:40].any()
    assert (plain != titled)[64:, :MIN_LABEL_WIDTH].any()


def test_long_class_name_does_not_cover_images():
    split = Split(np.zeros((1, SIDE, SIDE), np.uint8), np.zeros(1, np.uint8))
    short, long = (
        draw_contact_sheet(split, (name,), "title", columns=1) for name in ("a", "a" * 60)
    )
    cell = np.asarray(long)[-MARGIN - CELL : -MARGIN - GAP, -MARGIN - CELL : -MARGIN - GAP]
    assert long.width > short.width
    assert (cell == 255).all()


def test_large_images_are_not_enlarged():
    split = Split(np.zeros((1, 100, 100), np.uint8), np.zeros(1, np.uint8))
    sheet = draw_contact_sheet(split, ("a",), "title", columns=1)
    assert sheet.width == 2 * MARGIN + MIN_LABEL_WIDTH + 100 + GAP
