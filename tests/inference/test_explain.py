"""Drawings of views and their class activation maps."""

import numpy as np
import pytest

from fashioncnn.inference.explain import (
    CAPTION_HEIGHT,
    GAP,
    MIN_SIDE,
    draw_explanation,
    side_by_side,
)


@pytest.mark.parametrize("views", [1, 3])
def test_each_view_has_its_map_beside_it(views, backend, images):
    sheet = draw_explanation(backend, images[:views], 1, "a 99.0%")
    assert sheet.width == 2 * views * (MIN_SIDE + GAP) + GAP
    assert sheet.height == MIN_SIDE + 2 * GAP + CAPTION_HEIGHT
    drawn = np.asarray(sheet)[GAP : GAP + MIN_SIDE : 28, GAP : GAP + MIN_SIDE : 28]
    np.testing.assert_array_equal(drawn, images[0][..., None].repeat(3, 2))


def test_map_is_colored_from_low_to_high(backend):
    views = np.zeros((1, 8, 8), np.uint8)
    views[0, :, :4] = 255
    sheet = np.asarray(draw_explanation(backend, views, 1, ""))
    overlay = sheet[GAP : GAP + MIN_SIDE, MIN_SIDE + 2 * GAP : 2 * (MIN_SIDE + GAP)]
    left, right = overlay[:, :50].mean(axis=(0, 1)), overlay[:, -50:].mean(axis=(0, 1))
    assert left[0] > right[0] + 100


def test_empty_map_is_reported_in_the_caption(backend, images):
    with_map = draw_explanation(backend, images[:1], 1, "caption")
    without = draw_explanation(backend, images[:1], 0, "caption")  # maps of label 0 are 0
    lines = [np.asarray(s)[MIN_SIDE + 2 * GAP :] for s in (with_map, without)]
    lit = [np.flatnonzero((line > 100).any(axis=(0, 2))).max() for line in lines]
    assert lit[1] > lit[0] + 50


def test_large_views_are_not_reduced(backend):
    class Flat:
        def activation_maps(self, views, labels):
            return np.ones((len(views), 4, 4), np.float32)

    sheet = draw_explanation(Flat(), np.zeros((1, 300, 300), np.uint8), 0, "")
    assert sheet.width == 2 * (300 + GAP) + GAP


def test_views_are_placed_side_by_side(images):
    np.testing.assert_array_equal(np.asarray(side_by_side(images[:3])), np.hstack(images[:3]))
