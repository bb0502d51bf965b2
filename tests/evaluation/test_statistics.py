"""Statistical tests and intervals, against scipy, published data and simulations."""

import math

import numpy as np
import pytest
from scipy import stats

from fashioncnn.evaluation.statistics import (
    Difference,
    MeanStd,
    holm_adjust,
    interaction_variance,
    mcnemar_test,
    mean_and_std,
    mean_difference,
    newcombe_interval,
    paired_accuracy_difference,
    paired_mean_difference,
    seed_paired_difference,
    welch_mean_difference,
)


def test_mean_and_std_match_numpy():
    values = [0.93, 0.931, 0.926]
    result = mean_and_std(values)
    assert result.n == 3
    assert result.mean == pytest.approx(np.mean(values))
    assert result.std == pytest.approx(np.std(values, ddof=1))


def test_std_of_a_single_value_is_none():
    assert mean_and_std([0.5]) == MeanStd(1, 0.5, None)


def test_mcnemar_is_the_binomial_test_of_discordant_pairs():
    assert mcnemar_test(5, 5) == 1
    assert mcnemar_test(0, 0) == 1
    assert mcnemar_test(0, 6) == pytest.approx(2 * 0.5**6)
    assert mcnemar_test(12, 30) == mcnemar_test(30, 12) == stats.binomtest(12, 42).pvalue


def test_newcombe_interval_matches_published_data():
    """Airway hyper-responsiveness before and after: Fagerland et al. 2014, Stat. Med. 33:2850."""
    both, after_only, before_only, neither = 1, 7, 1, 12
    interval = newcombe_interval(both, after_only, before_only, neither)
    assert interval == pytest.approx((-0.507, -0.026), abs=5e-4)


def test_newcombe_interval_has_nominal_coverage():
    generator = np.random.default_rng(1)
    probabilities = [0.90, 0.03, 0.05, 0.02]  # both, A only, B only, neither
    tables = generator.multinomial(500, probabilities, size=1000)
    covered = [low <= 0.02 <= high for low, high in (newcombe_interval(*t) for t in tables)]
    assert 0.93 < np.mean(covered) < 0.975


def test_paired_accuracy_difference_is_of_b_minus_a():
    a = np.array([True, True, False, False, False, False])
    b = np.array([True, False, True, True, True, False])
    result = paired_accuracy_difference(a, b)
    assert result.value == pytest.approx(2 / 6)
    assert result.p == mcnemar_test(1, 3)
    assert result.ci95 == newcombe_interval(1, 1, 3, 1)


def test_paired_mean_difference_is_the_paired_t_test():
    a, b = np.random.default_rng(0).normal(size=(2, 5))
    expected = stats.ttest_rel(b, a)
    result = paired_mean_difference(list(a), list(b))
    assert result.value == pytest.approx(b.mean() - a.mean())
    assert result.p == pytest.approx(expected.pvalue)
    assert result.ci95 == pytest.approx(expected.confidence_interval(0.95))


def test_welch_mean_difference_is_welchs_t_test():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=4), generator.normal(1, 2, size=6)
    expected = stats.ttest_ind(b, a, equal_var=False)
    result = welch_mean_difference(list(a), list(b))
    assert result.value == pytest.approx(b.mean() - a.mean())
    assert result.p == pytest.approx(expected.pvalue)
    assert result.ci95 == pytest.approx(expected.confidence_interval(0.95))


def test_mean_difference_adds_variance_of_runs_and_images():
    generator = np.random.default_rng(2)
    a, b = (list(generator.random((3, 4000)) < accuracy) for accuracy in (0.81, 0.85))
    result = mean_difference(a, b)
    over_runs = [np.mean(side, axis=1).var(ddof=1) / 3 for side in (a, b)]
    over_images = (np.mean(b, axis=0) - np.mean(a, axis=0)).var(ddof=1) / 4000
    both = min(sum(map(interaction_variance, (a, b))), sum(over_runs), over_images)
    error = math.sqrt(sum(over_runs) + over_images - both)
    image_terms = (over_images**2 + both**2) / 3999
    degrees = error**4 / (sum(v**2 for v in over_runs) / 2 + image_terms)
    assert result.value == pytest.approx(np.mean(b) - np.mean(a))
    low, high = result.ci95
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, degrees) * error)
    assert result.p == pytest.approx(2 * stats.t.sf(result.value / error, degrees))


def test_interaction_variance_is_the_residual_of_a_two_way_layout():
    run, image = np.array([[0.0], [1.0], [5.0]]), np.array([[2.0, 4.0, 9.0, 0.0]])
    additive = run + image
    assert interaction_variance(additive) == pytest.approx(0)
    residual = np.array([[1, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 0, 0]])
    mean_square = (residual**2).sum() / ((3 - 1) * (4 - 1))
    assert interaction_variance(additive + residual) == pytest.approx(mean_square / 12)
    assert interaction_variance([image[0]]) == 0


def test_interval_of_several_seeds_has_nominal_coverage():
    """Without variance between seeds, intervals cover the truth in 95% of cases, not in all."""
    generator = np.random.default_rng(4)
    covered = 0
    for _ in range(400):
        a, b = ((generator.random((4, 500)) < 0.8).astype(float) for _ in "ab")
        low, high = mean_difference(a, b).ci95
        covered += low <= 0 <= high
    assert 372 <= covered <= 396


def test_equal_accuracies_of_two_runs_are_rarely_significant():
    generator = np.random.default_rng(5)
    samples = generator.random((200, 2, 1000)) < 0.8
    significant = sum(paired_accuracy_difference(a, b).is_significant for a, b in samples)
    assert significant <= 16


def test_groups_of_the_same_method_are_rarely_significant():
    """Images differ in difficulty for each group, and seeds differ in accuracy."""
    generator = np.random.default_rng(3)
    easiness = generator.normal(1.2, 1.0, (200, 2, 1, 500))
    shift_of_seed = generator.normal(0, 0.1, (200, 2, 4, 1))
    probability = 1 / (1 + np.exp(-(easiness + shift_of_seed)))
    samples = generator.random((200, 2, 4, 500)) < probability
    significant = sum(mean_difference(a, b).is_significant for a, b in samples)
    assert significant <= 18


def test_difference_without_variance_has_no_test():
    values = np.array([0.25, 0.25])
    assert mean_difference([values], [values + 1]) == Difference(1.0, None, None)
    assert not Difference(1.0, None, None).is_significant


@pytest.mark.parametrize(
    ("ci95", "p", "significant"),
    [
        ((0.1, 0.3), 0.01, True),
        ((-0.3, -0.1), 0.01, True),
        ((-0.1, 0.3), 0.01, False),
        ((0.1, 0.3), 0.06, False),
    ],
)
def test_significance_needs_both_test_and_interval(ci95, p, significant):
    assert Difference(0.2, ci95, p).is_significant == significant


def test_difference_is_written_as_json_types():
    assert Difference(0.5, (0.25, 0.75), 0.01).as_dict("gain") == {
        "gain": 0.5,
        "gain_ci95": [0.25, 0.75],
        "gain_p": 0.01,
    }


def test_holm_multiplies_by_the_number_of_remaining_tests():
    assert holm_adjust([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm_adjust([0.6, 0.9]) == [1.0, 1.0]


def test_interval_of_a_mean_is_that_of_scipy():
    values = [0.91, 0.93, 0.94, 0.9]
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert mean_and_std(values).ci95 == pytest.approx(expected)
    assert mean_and_std(values[:1]).ci95 is None
    assert mean_and_std(values).as_dict()["ci95"] == pytest.approx(list(expected))


def test_difference_paired_by_seed_without_variance_over_images_is_a_paired_t_test():
    """Each run has the same value for every image, so only runs vary."""
    means = [0.1, 0.5, 0.9, 0.4], [0.15, 0.58, 0.93, 0.46]
    a, b = ([np.full(50, mean) for mean in side] for side in means)
    difference = seed_paired_difference(a, b)
    assert difference.p == pytest.approx(stats.ttest_rel(means[1], means[0]).pvalue)
