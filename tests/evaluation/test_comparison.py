"""Comparisons: the tests against scipy's, and what they conclude of made-up runs."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from fashioncnn.evaluation.comparison import (
    Group,
    _t_difference,
    compare_groups,
    holm,
    mcnemar,
    newcombe_interval,
)

NAMES = ["one", "two", "three", "four"]


def run(labels, accuracy, seed):
    """Logits that name a share of the images rightly, at random."""
    generator = np.random.default_rng(seed)
    wrong = (labels + generator.integers(1, 4, len(labels))) % 4
    said = np.where(generator.random(len(labels)) < accuracy, labels, wrong)
    return np.eye(4, dtype=np.float32)[said] * 3


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, 4, 4000).astype(np.uint8)


def test_mcnemar_is_the_binomial_test_of_the_discordant():
    assert mcnemar(5, 5) == 1
    assert mcnemar(0, 0) == 1
    assert mcnemar(0, 6) == pytest.approx(2 * 0.5**6)
    assert mcnemar(12, 30) == mcnemar(30, 12) == stats.binomtest(12, 42).pvalue


def test_newcombe_s_interval_of_published_data():
    """Airway hyper-responsiveness before and after: Fagerland et al. 2014, Stat. Med. 33:2850."""
    both, after_alone, before_alone, neither = 1, 7, 1, 12
    interval = newcombe_interval(both, after_alone, before_alone, neither)
    assert interval == pytest.approx((-0.507, -0.026), abs=5e-4)


def test_newcombe_covers_as_often_as_it_says():
    generator = np.random.default_rng(1)
    shares = [0.90, 0.03, 0.05, 0.02]  # both, A alone, B alone, neither
    sampler = generator.multinomial(500, shares, size=1000)
    inside = [low <= 0.02 <= high for low, high in (newcombe_interval(*d) for d in sampler)]
    assert 0.93 < np.mean(inside) < 0.975


def test_holm_multiplies_the_smallest_by_all_and_never_goes_down():
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_a_clear_difference_of_two_networks_is_trusted(labels):
    compared = compare_groups(
        Group("a", [run(labels, 0.80, 1)]), Group("b", [run(labels, 0.86, 2)]), labels, NAMES
    )
    assert compared["trusted"]
    assert compared["accuracy_difference"] == pytest.approx(0.06, abs=0.02)
    low, high = compared["accuracy_difference_ci95"]
    assert 0 < low < compared["accuracy_difference"] < high
    assert compared["loss_difference"] < 0
    assert sum(c["n"] for c in compared["per_class"]) == len(labels)


def test_no_difference_is_not_trusted_more_often_than_it_may(labels):
    trusted = [
        compare_groups(
            Group("a", [run(labels, 0.8, 2 * s)]),
            Group("b", [run(labels, 0.8, 2 * s + 1)]),
            labels,
            NAMES,
        )["trusted"]
        for s in range(100)
    ]
    assert sum(trusted) <= 12


def test_seeds_and_images_vary_together(labels):
    accuracies = [0.80, 0.82, 0.81], [0.85, 0.86, 0.845]
    groups = [
        Group(name, [run(labels, accuracy, at * 10 + i) for i, accuracy in enumerate(shares)])
        for at, (name, shares) in enumerate(zip("ab", accuracies, strict=True))
    ]
    compared = compare_groups(*groups, labels, NAMES)
    right = [np.array([x.argmax(1) == labels for x in g.logits]) for g in groups]
    of_seeds = [r.mean(1).var(ddof=1) / 3 for r in right]
    of_images = (right[1].mean(0) - right[0].mean(0)).var(ddof=1) / len(labels)
    # What is neither of a run nor of an image: the residuals of a two-way layout.
    rest = [r - r.mean(0) - r.mean(1, keepdims=True) + r.mean() for r in right]
    of_both = sum((x**2).sum() / (2 * (len(labels) - 1)) / (3 * len(labels)) for x in rest)
    both = min(of_both, sum(of_seeds), of_images)
    error = math.sqrt(sum(of_seeds) + of_images - both)
    middle = right[1].mean() - right[0].mean()
    assert compared["accuracy_difference"] == pytest.approx(middle)
    low, high = compared["accuracy_difference_ci95"]
    images = (of_images**2 + both**2) / (len(labels) - 1)
    freedom = error**4 / (sum(v**2 for v in of_seeds) / 2 + images)
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, freedom) * error)
    assert compared["a"]["runs"] == 3
    assert compared["a"]["accuracy_sd"] == pytest.approx(right[0].mean(1).std(ddof=1))


def test_groups_alike_are_not_trusted_more_often_than_they_may():
    """Seeds and images both vary: images are harder or easier for A and for B alike or not."""
    generator = np.random.default_rng(3)
    trusted = 0
    for _ in range(200):
        labels = generator.integers(0, 4, 500).astype(np.uint8)
        groups = []
        for name in "ab":
            ease = generator.normal(1.2, 1.0, 500)  # of each image, for this method
            shift = generator.normal(0, 0.1, 4)  # of each seed
            chances = 1 / (1 + np.exp(-(ease + shift[:, None])))
            right = generator.random((4, 500)) < chances
            said = np.where(right, labels, (labels + 1) % 4)
            groups.append(Group(name, list(np.eye(4, dtype=np.float32)[said])))
        trusted += compare_groups(*groups, labels, NAMES)["trusted"]
    assert trusted <= 18


def test_the_interval_of_several_seeds_is_as_wide_as_it_should_be():
    """Runs that differ on images alone: intervals hold the truth in 95% of cases, not in all."""
    generator = np.random.default_rng(4)
    inside = 0
    for _ in range(400):
        pairs = [(generator.random((4, 500)) < 0.8).astype(float) for _ in "ab"]
        low, high = _t_difference(*pairs).ci95
        inside += low <= 0 <= high
    assert 372 <= inside <= 396


def test_what_holds_for_seeds_but_not_for_images_is_not_trusted():
    """Seeds that always agree, on images too few to tell."""
    labels = np.arange(40, dtype=np.uint8) % 4
    b = np.eye(4, dtype=np.float32)[labels]
    a = b.copy()
    a[0] = a[0][[1, 0, 2, 3]]
    compared = compare_groups(Group("a", [a, a * 2]), Group("b", [b, b * 2]), labels, NAMES)
    assert compared["accuracy_difference"] == pytest.approx(1 / 40)
    assert not compared["trusted"]


def test_a_part_of_one_image_has_no_interval():
    labels = np.array([1], dtype=np.uint8)
    a, b = np.eye(4, dtype=np.float32)[[0]], np.eye(4, dtype=np.float32)[[1]]
    compared = compare_groups(Group("a", [a]), Group("b", [b]), labels, NAMES)
    assert compared["loss_difference_ci95"] is None
    assert not compared["trusted"]
    json.dumps(compared, allow_nan=False)


def test_where_it_comes_from(labels):
    a = run(labels, 0.8, 1)
    b = a.copy()
    taken = (labels == 2) & (a.argmax(1) == 1)
    b[taken] = np.eye(4, dtype=np.float32)[2] * 3
    compared = compare_groups(Group("a", [a]), Group("b", [b]), labels, NAMES)
    [pair] = compared["pairs"]
    assert (pair["true"], pair["predicted"], pair["b"]) == (2, 1, 0)
    assert pair["a"] == taken.sum()
    by_class = {c["name"]: c for c in compared["per_class"]}
    assert by_class["three"]["difference"] == pytest.approx(taken.sum() / (labels == 2).sum())
    assert by_class["three"]["difference_p_holm"] < 1e-6
    assert by_class["one"]["difference_p_holm"] == 1


def test_one_run_and_several_are_not_compared(labels):
    one, two = run(labels, 0.8, 1), run(labels, 0.8, 2)
    with pytest.raises(ValueError, match="one run and several"):
        compare_groups(Group("a", [one]), Group("b", [one, two]), labels, NAMES)


def test_equal_runs_have_no_difference(labels):
    logits = run(labels, 0.8, 1)
    compared = compare_groups(Group("a", [logits]), Group("b", [logits]), labels, NAMES)
    assert compared["accuracy_difference"] == 0
    assert compared["accuracy_difference_p"] == 1
    assert compared["loss_difference_p"] is None
    assert not any(math.isnan(x) for x in compared["accuracy_difference_ci95"])
    assert compared["pairs"] == []
