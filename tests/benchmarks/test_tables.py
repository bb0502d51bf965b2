import math
import statistics

import pytest
import scipy.stats

import tables

BEFORE, AFTER = [1.0, 2.0, 4.0], [2.5, 2.0, 6.0]


def test_mean_and_sample_standard_deviation():
    sample = tables.mean_and_std(BEFORE)
    assert sample.mean == pytest.approx(7 / 3)
    assert sample.std == pytest.approx(math.sqrt(7 / 3))
    assert tables.mean_and_std([1.0]) == tables.MeanStd(1, 1.0, None)


def test_a_single_value_has_no_standard_deviation():
    assert tables.format_mean_std([0.5], 100, 1) == "50.0"
    assert tables.format_mean_std([0.5, 0.7], 100, 1) == "60.0 ± 14.1"


def test_range_is_median_minimum_and_maximum():
    assert tables.format_range([300.0, 100.0, 5000.0]) == "300 [100 – 5,000]"


def test_paired_difference_is_students_t():
    difference = tables.paired_mean_difference(BEFORE, AFTER)
    # Differences 1.5, 0, 2; with 2 degrees of freedom, t has a closed form.
    mean, error = 7 / 6, statistics.stdev([1.5, 0, 2]) / math.sqrt(3)
    quantile = 0.95 * math.sqrt(2 / (1 - 0.95**2))
    assert difference.value == pytest.approx(mean)
    assert difference.ci95 == pytest.approx((mean - quantile * error, mean + quantile * error))
    t = mean / error
    assert difference.p == pytest.approx(1 - t / math.sqrt(2 + t**2))


def test_a_single_pair_has_no_interval():
    difference = tables.paired_mean_difference([1.0], [1.5])
    assert difference.ci95 is None
    assert tables.format_difference(difference, 2) == "+0.50"


def test_welch_difference_uses_both_variances():
    difference = tables.welch_mean_difference(BEFORE, AFTER)
    a, b = statistics.variance(BEFORE) / 3, statistics.variance(AFTER) / 3
    freedom = (a + b) ** 2 / (a**2 / 2 + b**2 / 2)
    half = scipy.stats.t.ppf(0.975, freedom) * math.sqrt(a + b)
    assert difference.ci95 == pytest.approx((7 / 6 - half, 7 / 6 + half))
    assert tables.format_difference(difference, 1).startswith("+1.2 [-")


def test_markdown_columns_are_right_aligned_except_the_named_ones():
    table = tables.markdown_table(("a", "b"), [("1", "2")], left=(1,))
    assert table == "| a | b |\n| ---: | --- |\n| 1 | 2 |"
