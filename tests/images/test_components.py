"""Connected components, against SciPy's."""

import numpy as np
import pytest
from scipy.ndimage import label

from fashioncnn.images.components import label_components


@pytest.mark.parametrize("density", [0.0, 0.3, 0.5, 0.6, 0.8, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (40, 55)])
def test_components_are_those_of_scipy(shape, density):
    for seed in range(5):
        mask = np.random.default_rng(seed).random(shape) < density
        np.testing.assert_array_equal(label_components(mask), label(mask)[0])


def test_arms_that_meet_in_a_later_row_are_one_component():
    mask = np.array([[1, 0, 1, 0, 1], [1, 0, 1, 1, 1], [1, 1, 1, 0, 0]], bool)
    np.testing.assert_array_equal(label_components(mask), mask.astype(int))


def test_diagonal_neighbors_are_not_connected():
    assert label_components(np.eye(3, dtype=bool)).max() == 3
