import numpy as np
import pytest

from fashioncnn.data import duplicates
from fashioncnn.data.dataset import Split
from fashioncnn.data.duplicates import find_duplicates
from fashioncnn.errors import UsageError


def noise(n, shape=(12, 12), seed=0):
    """Return random images, which do not correlate."""
    return np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8)


def split(images, label=0):
    return Split(images, np.full(len(images), label, np.uint8))


def similar(image, amount):
    """Return a darker image with noise."""
    changed = 20 + 0.6 * image + np.random.default_rng(9).normal(0, amount, image.shape)
    return np.clip(changed, 0, 255).astype(np.uint8)


def by_splits(found):
    return {(d.first, d.second): d for d in found}


def test_planted_duplicates_are_found_within_and_between_splits():
    train, test = noise(300), noise(50, seed=1)
    train[7], train[8] = train[5], similar(train[6], 1)
    test[3], test[4] = train[200], similar(train[201], 1)
    found = by_splits(find_duplicates({"train": split(train), "test": split(test, 1)}))
    within, between = found["train", "train"], found["train", "test"]
    assert [(p.first, p.second) for p in within.pairs] == [(5, 7), (6, 8)]
    assert np.flatnonzero(within.exact).tolist() == [5, 7]
    assert np.flatnonzero(within.near).tolist() == [5, 6, 7, 8]
    assert (within.exact_pairs, within.near_pairs, within.other_label) == (1, 2, 0)
    assert [(p.first, p.second, p.same_label) for p in between.pairs] == [
        (200, 3, False),
        (201, 4, False),
    ]
    assert between.exact.nonzero()[0].tolist() == [3]
    assert between.near.nonzero()[0].tolist() == [3, 4]
    assert between.other_label == between.near_pairs == 2
    assert found["test", "test"].near_pairs == 0
    assert between.pairs[0].similarity == 1 > between.pairs[1].similarity > 0.99


@pytest.mark.parametrize("threshold", [0.9, 0.95, 0.99])
def test_agrees_with_all_correlations(sketches, threshold, monkeypatch):
    """Of drawings, many of which are similar; over several blocks and chunks."""
    monkeypatch.setattr(duplicates, "BLOCK", 150)
    monkeypatch.setattr(duplicates, "CHUNK", 40)
    images = sketches.train.images[:400]
    images = np.concatenate([images, np.stack([similar(image, 3) for image in images[:100]])])
    correlations = np.corrcoef(images.reshape(len(images), -1).astype(float))
    a, b = np.nonzero(np.triu(correlations >= threshold, 1))
    (found,) = find_duplicates({"train": split(images)}, threshold)
    assert found.near_pairs == len(a) > 50
    listed = {(pair.first, pair.second): pair.similarity for pair in found.pairs}
    assert set(listed) == set(zip(a.tolist(), b.tolist(), strict=True))
    assert [listed[i, j] for i, j in zip(a, b, strict=True)] == pytest.approx(
        correlations[a, b], abs=1e-5
    )


def test_images_without_contrast_are_exact_duplicates_only():
    images = noise(40)
    images[[3, 9]], images[20] = 0, 255
    (found,) = find_duplicates({"train": split(images)})
    assert [(p.first, p.second) for p in found.pairs] == [(3, 9)]
    assert found.exact_pairs == found.near_pairs == 1


def test_color_and_large_images():
    images = noise(30, (100, 100, 3))
    images[4], images[5] = similar(images[1], 1), images[2][:, ::-1]
    (found,) = find_duplicates({"train": split(images)})
    assert [(p.first, p.second) for p in found.pairs] == [(1, 4)]
    small = noise(30, (6, 6, 3))
    small[4], small[5] = small[1], small[2][..., ::-1]  # other colors
    assert find_duplicates({"train": split(small)})[0].near.nonzero()[0].tolist() == [1, 4]


def test_indices_are_those_of_the_original_split():
    images = noise(20)
    images[12] = images[11]
    part = split(images).subset(np.arange(10, 20))
    (found,) = find_duplicates({"train": part})
    assert (found.pairs[0].first, found.pairs[0].second) == (11, 12)
    assert found.near.nonzero()[0].tolist() == [1, 2]


def test_listed_pairs_are_limited_and_counted(monkeypatch):
    monkeypatch.setattr(duplicates, "MAX_LISTED", 3)
    images = np.repeat(noise(1), 6, axis=0)
    (found,) = find_duplicates({"train": split(images)})
    assert (len(found.pairs), found.near_pairs) == (3, 15)


def test_a_single_image_has_no_duplicates():
    assert find_duplicates({"test": split(noise(1))})[0].near_pairs == 0


@pytest.mark.parametrize("threshold", [0.5, 1.01, float("nan")])
def test_threshold_out_of_range_is_rejected(threshold):
    with pytest.raises(UsageError, match=r"should be from 0\.9 to 1"):
        find_duplicates({"train": split(noise(3))}, threshold)
