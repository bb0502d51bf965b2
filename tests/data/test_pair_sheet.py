import numpy as np

from fashioncnn.data.dataset import Split
from fashioncnn.data.duplicates import find_duplicates
from fashioncnn.data.pair_sheet import CELL, draw_pairs


def splits_with_duplicates():
    images = np.random.default_rng(0).integers(0, 256, (30, 28, 28)).astype(np.uint8)
    train = Split(images[:20], np.zeros(20, np.uint8))
    test = Split(np.concatenate([images[20:], images[:3]]), np.ones(13, np.uint8))
    return {"train": train, "test": test}


def test_pairs_are_drawn_side_by_side_inverted_with_red_text_for_other_labels():
    splits = splits_with_duplicates()
    sheet = np.asarray(draw_pairs(splits, find_duplicates(splits), "title", columns=3))
    top = sheet.shape[0] - 20 - 26 - 56
    for column in range(3):
        left = 20 + column * CELL
        first, second = sheet[top : top + 56, left : left + 56], sheet[top:, left + 56 : left + 112]
        assert (first == second[:56]).all()
        assert any((first[::2, ::2, 0] == 255 - splits["train"].images[i]).all() for i in range(3))
    text = sheet[top + 56 :].reshape(-1, 3).astype(int)
    assert (text[:, 0] - text[:, 1] > 80).any(), "other labels are marked"


def test_sheet_without_pairs_has_a_title_only():
    splits = splits_with_duplicates()
    splits = {"train": splits["train"]}
    assert draw_pairs(splits, find_duplicates(splits), "title").height < 100
