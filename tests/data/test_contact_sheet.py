import numpy as np

from fashioncnn.data.contact_sheet import GAP, LABEL_WIDTH, MARGIN, draw_contact_sheet
from fashioncnn.data.dataset import Split

SIDE = 28
CELL = 2 * SIDE + GAP


def test_sheet_shows_the_first_images_of_each_class_inverted():
    images = np.stack([np.full((SIDE, SIDE), level, np.uint8) for level in (50, 100, 150, 200)])
    split = Split(images, np.array([0, 1, 1, 1], np.uint8))
    sheet = np.asarray(draw_contact_sheet(split, ("a", "b"), "title", columns=2).convert("L"))
    top, left = sheet.shape[0] - MARGIN - 2 * CELL, MARGIN + LABEL_WIDTH
    cells = [[sheet[top + r * CELL + 5, left + c * CELL + 5] for c in (0, 1)] for r in (0, 1)]
    assert cells == [[205, 255], [155, 105]]
    assert sheet.shape[1] == left + 2 * CELL + MARGIN


def test_sheet_has_a_title_and_labels():
    split = Split(np.zeros((1, SIDE, SIDE), np.uint8), np.zeros(1, np.uint8))
    plain, titled = (
        np.asarray(draw_contact_sheet(split, (name,), title)) for name, title in ((" ", " "), "ab")
    )
    assert (plain != titled)[:40].any()
    assert (plain != titled)[64:, :LABEL_WIDTH].any()
