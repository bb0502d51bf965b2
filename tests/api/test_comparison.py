import pytest

from fashioncnn import Classifier, DataError, UsageError, compare


@pytest.fixture(scope="module")
def pair(quick_parameters, images, names):
    return [
        Classifier(**{**quick_parameters, "epochs": epochs}).fit(images, names) for epochs in (1, 3)
    ]


def test_classifiers_are_compared_on_the_same_images(pair, images, names):
    comparison = compare(*pair, images, names)
    a, b = (classifier.evaluate(images, names) for classifier in pair)
    assert comparison == compare(a, b)
    assert comparison.difference == pytest.approx(b.accuracy - a.accuracy)
    assert (comparison["a"]["accuracy"], comparison["b"]["accuracy"]) == (a.accuracy, b.accuracy)
    low, high = comparison.interval
    assert low <= comparison.difference <= high
    assert 0 < comparison.p <= 1
    assert comparison.verdict in comparison._repr_html_().replace("&#x27;", "'")
    assert repr(comparison).startswith(f"Comparison(A=A {a.accuracy:.4f}, B=B {b.accuracy:.4f}")


def test_images_of_an_iterator_are_read_once(pair, images, names):
    assert compare(*pair, iter(images), names) == compare(*pair, images, names)


def test_lists_are_seeds(pair, images, names):
    evaluations = [classifier.evaluate(images, names) for classifier in pair]
    comparison = compare(evaluations, evaluations[::-1])
    assert comparison["a"]["runs"] == 2
    assert "seeds" in comparison["method"]
    with pytest.raises(UsageError, match="one model with one"):
        compare(evaluations, evaluations[0])
    with pytest.raises(UsageError, match="empty list"):
        compare([], evaluations)


def test_runs_are_compared_by_their_stored_predictions(quick, small, tmp_path):
    for seed in (0, 1):
        Classifier.train(data=small, out=tmp_path / f"run-{seed}", seed=seed, **quick)
    comparison = compare(tmp_path / "run-0", str(tmp_path / "run-1"))
    assert comparison["n"] == 100
    assert comparison["a"]["name"] == "run-0"
    with pytest.raises(UsageError, match="cannot be compared with itself"):
        compare(tmp_path / "run-0", tmp_path / "run-0")


def test_models_are_compared_by_name(pair, images, names, tmp_path):
    pair[0].save(tmp_path / "one")
    pair[1].save(tmp_path / "three")
    comparison = compare(tmp_path / "one", tmp_path / "three", images, names)
    assert comparison["b"]["name"] == "three"
    assert comparison.difference == compare(*pair, images, names).difference


def test_other_images_and_types_are_rejected(pair, images, names):
    evaluation = pair[0].evaluate(images, names)
    other = pair[1].evaluate(images[:50], names[:50])
    with pytest.raises(DataError, match="different images"):
        compare(evaluation, other)
    with pytest.raises(UsageError, match="compare: int"):
        compare(evaluation, 3)
    with pytest.raises(UsageError, match="split = 'train'"):
        compare(evaluation, evaluation, split="train")


def test_messages_do_not_recommend_options_of_the_command_line(quick, small, tmp_path):
    for seed in (0, 1):
        Classifier.train(
            data=small, out=tmp_path / f"run-{seed}", seed=seed, track_test=False, **quick
        )
    with pytest.raises(UsageError, match="no stored predictions") as raised:
        compare(tmp_path / "run-0", tmp_path / "run-1", split="test")
    assert "--" not in str(raised.value)
    assert "fashioncnn evaluate" not in str(raised.value)
