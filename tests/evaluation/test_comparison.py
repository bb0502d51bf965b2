"""Comparison of runs with known accuracies."""

import json
import math

import numpy as np
import pytest

from fashioncnn.evaluation.comparison import Group, compare_groups
from fashioncnn.evaluation.statistics import mean_difference

NAMES = ["one", "two", "three", "four"]


def logits_of(predicted):
    return np.eye(4, dtype=np.float32)[predicted] * 3


def random_logits(labels, accuracy, seed):
    """Return logits that are correct for about a fraction `accuracy` of the images."""
    generator = np.random.default_rng(seed)
    incorrect = (labels + generator.integers(1, 4, len(labels))) % 4
    return logits_of(np.where(generator.random(len(labels)) < accuracy, labels, incorrect))


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, 4, 4000).astype(np.uint8)


def test_large_difference_of_two_runs_is_significant(labels):
    a, b = random_logits(labels, 0.80, 1), random_logits(labels, 0.86, 2)
    compared = compare_groups(Group("a", [a]), Group("b", [b]), labels, NAMES)
    assert compared["trusted"]
    assert compared["accuracy_difference"] == pytest.approx(0.06, abs=0.02)
    low, high = compared["accuracy_difference_ci95"]
    assert 0 < low < compared["accuracy_difference"] < high
    assert compared["loss_difference"] < 0
    assert sum(c["n"] for c in compared["per_class"]) == len(labels)
    assert compared["method"].startswith("McNemar")


def test_groups_are_compared_over_seeds_and_images(labels):
    accuracies = [0.80, 0.82, 0.81], [0.85, 0.86, 0.845]
    a, b = (
        Group(name, [random_logits(labels, accuracy, 10 * i + j) for j, accuracy in enumerate(row)])
        for i, (name, row) in enumerate(zip("ab", accuracies, strict=True))
    )
    compared = compare_groups(a, b, labels, NAMES)
    correct = [[x.argmax(1) == labels for x in group.logits] for group in (a, b)]
    expected = mean_difference(*correct)
    assert compared["accuracy_difference"] == expected.value
    assert compared["accuracy_difference_ci95"] == list(expected.ci95)
    assert compared["accuracy_difference_p"] == expected.p
    assert compared["method"] == "t test with seeds and images as random factors"
    assert compared["a"]["runs"] == 3
    accuracy_of_runs = np.mean(correct[0], axis=1)
    assert compared["a"]["accuracy_sd"] == pytest.approx(accuracy_of_runs.std(ddof=1))


def test_agreement_of_seeds_on_few_images_is_not_significant():
    labels = np.arange(40, dtype=np.uint8) % 4
    b = np.eye(4, dtype=np.float32)[labels]
    a = b.copy()
    a[0] = a[0][[1, 0, 2, 3]]
    compared = compare_groups(Group("a", [a, a * 2]), Group("b", [b, b * 2]), labels, NAMES)
    assert compared["accuracy_difference"] == pytest.approx(1 / 40)
    assert not compared["trusted"]


def test_single_image_has_no_interval_of_the_loss():
    labels = np.array([1], dtype=np.uint8)
    a, b = logits_of([0]), logits_of([1])
    compared = compare_groups(Group("a", [a]), Group("b", [b]), labels, NAMES)
    assert compared["loss_difference_ci95"] is None
    assert not compared["trusted"]
    json.dumps(compared, allow_nan=False)


def test_changed_predictions_appear_by_class_and_pair(labels):
    a = random_logits(labels, 0.8, 1)
    changed = (labels == 2) & (a.argmax(1) == 1)
    b = a.copy()
    b[changed] = logits_of(2)
    compared = compare_groups(Group("a", [a]), Group("b", [b]), labels, NAMES)
    assert compared["pairs"] == [{"true": 2, "predicted": 1, "a": changed.sum(), "b": 0}]
    by_class = {c["name"]: c for c in compared["per_class"]}
    difference = changed.sum() / (labels == 2).sum()
    assert by_class["three"]["difference"] == pytest.approx(difference)
    assert by_class["three"]["difference_p_holm"] < 1e-6
    assert by_class["one"]["difference_p_holm"] == 1


def test_class_without_images_is_left_out(labels):
    labels = labels[labels != 3]
    runs = [Group(n, [random_logits(labels, 0.8, s)]) for s, n in enumerate("ab")]
    compared = compare_groups(*runs, labels, NAMES)
    assert [c["name"] for c in compared["per_class"]] == ["one", "two", "three"]


def test_one_run_and_several_cannot_be_compared(labels):
    one, two = random_logits(labels, 0.8, 1), random_logits(labels, 0.8, 2)
    with pytest.raises(ValueError, match="cannot compare one run with several"):
        compare_groups(Group("a", [one]), Group("b", [one, two]), labels, NAMES)


def test_equal_runs_have_no_difference(labels):
    logits = random_logits(labels, 0.8, 1)
    compared = compare_groups(Group("a", [logits]), Group("b", [logits]), labels, NAMES)
    assert compared["accuracy_difference"] == 0
    assert compared["accuracy_difference_p"] == 1
    assert compared["loss_difference_p"] is None
    assert not any(math.isnan(x) for x in compared["accuracy_difference_ci95"])
    assert compared["pairs"] == []


def test_json_keys_are_unchanged(labels):
    a, b = random_logits(labels, 0.8, 1), random_logits(labels, 0.8, 2)
    compared = compare_groups(Group("a", [a]), Group("b", [b]), labels, NAMES)
    differences = [
        f"{name}_difference{suffix}"
        for name in ("accuracy", "loss")
        for suffix in ("", "_ci95", "_p")
    ]
    assert list(compared) == [
        "schema",
        "n",
        "class_names",
        "a",
        "b",
        "method",
        "paired_by_seed",
        *differences,
        "trusted",
        "per_class",
        "pairs",
    ]
    assert list(compared["a"]) == ["name", "runs", "accuracy", "accuracy_sd", "loss"]
    assert list(compared["per_class"][0]) == [
        "code",
        "name",
        "n",
        "a",
        "b",
        "difference",
        "difference_ci95",
        "difference_p",
        "difference_p_holm",
    ]


def test_groups_of_the_same_seeds_are_compared_in_pairs_whatever_their_order():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 200).astype(np.uint8)
    a = [random_logits(labels, 0.5 + 0.1 * seed, seed) for seed in range(3)]
    # B makes the predictions of A and corrects 20 more images.
    b = [logits.copy() for logits in a]
    for logits in b:
        incorrect = np.flatnonzero(logits.argmax(1) != labels)[:20]
        logits[incorrect] = 10 * np.eye(logits.shape[1])[labels[incorrect]]
    names = [str(n) for n in range(a[0].shape[1])]
    group_a = Group("a", a, (0, 1, 2))
    compared = [
        compare_groups(group_a, Group("b", [b[i] for i in order], order), labels, names)
        for order in ((0, 1, 2), (2, 0, 1))
    ]
    assert compared[0] == compared[1]
    assert compared[0]["paired_by_seed"]
    assert compared[0]["method"].endswith("paired by seed")
    unpaired = compare_groups(group_a, Group("b", b, (3, 4, 5)), labels, names)
    assert not unpaired["paired_by_seed"]
    assert unpaired["accuracy_difference"] == compared[0]["accuracy_difference"]
    widths = [np.ptp(c["accuracy_difference_ci95"]) for c in (compared[0], unpaired)]
    assert widths[0] < widths[1] / 2


def test_several_correct_classes_of_an_image_count_for_every_run():
    """A and B predict different ones of two correct classes, and each has its own as the label."""
    labels = np.arange(40, dtype=np.uint8) % 4
    a, b = logits_of(labels), logits_of(labels)
    either = labels == 0  # or 1
    b[either] = logits_of(1)
    b_labels = np.where(either, 1, labels).astype(np.uint8)
    groups = Group("a", [a], labels=[labels]), Group("b", [b], labels=[b_labels])
    compared = compare_groups(*groups, labels, NAMES)
    assert (compared["a"]["accuracy"], compared["b"]["accuracy"]) == (1, 1)
    assert compared["accuracy_difference"] == compared["loss_difference"] == 0
    assert (compared["accuracy_difference_p"], compared["pairs"]) == (1, [])
    assert [row["b"] for row in compared["per_class"]] == [1, 1, 1, 1]


def test_labels_of_runs_follow_their_order_by_seed():
    labels = np.arange(40, dtype=np.uint8) % 4
    other = ((labels + 1) % 4).astype(np.uint8)
    runs = [(logits_of(labels), labels), (logits_of(other), other)]
    groups = [
        Group(name, [runs[i][0] for i in order], order, [runs[i][1] for i in order])
        for name, order in (("a", (0, 1)), ("b", (1, 0)))
    ]
    compared = compare_groups(*groups, labels, NAMES)
    assert compared["paired_by_seed"]
    assert (compared["a"]["accuracy"], compared["b"]["accuracy"]) == (1, 1)
