import json
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fashioncnn import (
    Classifier,
    DataError,
    Evaluation,
    MissingExtraError,
    UsageError,
    environment,
    plot_mistakes,
)
from fashioncnn.api.classifier import classifier_of_model


@pytest.fixture(scope="module")
def evaluation(fitted, images, names):
    return fitted.evaluate(images, names)


def test_attributes_agree_with_the_predictions(evaluation, fitted, images, names):
    predicted = fitted.predict(images)
    assert evaluation.accuracy == evaluation["accuracy"] == np.mean(predicted == names)
    low, high = evaluation.interval
    assert 0 <= low < evaluation.accuracy < high <= 1
    assert evaluation.loss == evaluation["loss"]
    expected = pd.crosstab(names, predicted)
    for true, predicted_name, count in evaluation.confused_pairs:
        assert expected.loc[true, predicted_name] == count
    counts = evaluation.confusion_matrix
    assert counts.sum() == 100
    assert np.trace(counts) == np.sum(predicted == names)
    assert [row["name"] for row in evaluation.per_class] == list(evaluation.class_names)


def test_mistakes_are_all_incorrect_predictions_most_confident_first(
    evaluation, fitted, images, names
):
    predicted, highest = fitted.predict(images), fitted.predict_proba(images).max(axis=1)
    incorrect = np.flatnonzero(predicted != names)
    expected = incorrect[np.argsort(-highest[incorrect], kind="stable")]
    mistakes = evaluation.mistakes
    assert [mistake.index for mistake in mistakes] == expected.tolist()
    assert [mistake.true for mistake in mistakes] == names[expected].tolist()
    assert [mistake.predicted for mistake in mistakes] == predicted[expected].tolist()
    assert len(evaluation.worst_mistakes(3)) == 3


def test_evaluation_is_a_dictionary_of_the_metrics(evaluation):
    assert json.loads(json.dumps(evaluation)) == dict(evaluation)
    assert pickle.loads(pickle.dumps(evaluation)).mistakes == evaluation.mistakes


def test_short_repr(evaluation):
    assert re.fullmatch(
        r"Evaluation\(arrays, n=100, accuracy=0\.\d{4}, interval=\[0\.\d{4}, 0\.\d{4}\], "
        r"loss=\d\.\d{4}\)",
        repr(evaluation),
    )


def test_page_has_tables_curves_confusion_matrix_and_mistakes(evaluation):
    page = evaluation._repr_html_()
    assert page.count("<table>") == 3
    for text in ("Per-class performance", 'alt="learning curves"', 'alt="confusion matrix"'):
        assert text in page
    assert page.count("image-rendering: pixelated") == 12
    assert "T-shirt/top" in page
    assert "<script" not in page


def test_page_of_a_perfect_model_has_no_mistakes(tiny_result, small):
    classifier = classifier_of_model(tiny_result.model)
    predicted = classifier.predict(small.test.images)
    page = classifier.evaluate(small.test.images, predicted)._repr_html_()
    assert "mistakes" not in page
    assert "learning curves" not in page  # no history is known


def test_class_names_are_escaped(quick, images, names):
    labels = np.where(names == "Coat", "<b>&", names)
    evaluation = Classifier(**quick).fit(images, labels).evaluate(images, labels)
    assert "<b>&<" not in evaluation._repr_html_()
    assert r"$<$b$>$\&" in evaluation.to_latex()


def test_pandas_has_a_row_per_class(evaluation, fitted, images, names):
    from sklearn.metrics import precision_recall_fscore_support

    frame = evaluation.to_pandas()
    assert frame.index.tolist() == list(evaluation.class_names)
    precision, recall, f1, n = precision_recall_fscore_support(
        names, fitted.predict(images), labels=list(evaluation.class_names), zero_division=0
    )
    np.testing.assert_allclose(frame["precision"].fillna(0), precision)
    np.testing.assert_allclose(frame["accuracy"], recall)
    np.testing.assert_allclose(frame["f1"], f1)
    assert frame["n"].tolist() == n.tolist()


def test_pandas_that_is_missing_is_named(evaluation, monkeypatch):
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pandas is not installed; run: pip install pandas"):
        evaluation.to_pandas()


def test_latex_has_a_row_per_class(evaluation):
    lines = evaluation.to_latex().splitlines()
    assert lines[0].startswith("% Accuracy ")
    assert sum(line.endswith(r"\\") for line in lines) == 12
    assert r"\begin{tabular}{lrrrr}" in lines
    unescaped = [line for line in lines[1:] if re.search(r"(?<!\\)[%_#]", line)]
    assert unescaped == []


def test_names_and_integers_are_labels(tiny_result, small):
    classifier = classifier_of_model(tiny_result.model)
    codes = small.test.labels
    by_code = classifier.evaluate(small.test.images, codes)
    by_name = classifier.evaluate(small.test.images, [small.class_names[code] for code in codes])
    by_series = classifier.evaluate(small.test.images, pd.Series(codes.astype(int)))
    assert by_code == by_name == by_series == {**tiny_result.metrics["test"], "dataset": "arrays"}
    with pytest.raises(DataError, match=r"'Coats' at position 0.*did you mean 'Coat'"):
        classifier.evaluate(small.test.images[:1], ["Coats"])


@pytest.mark.parametrize(
    "data",
    [3, np.zeros((2, 28, 28)), {"a": 1}, "", [1, 2], b"bytes", (1, 2, 3)],
    ids=lambda data: type(data).__name__,
)
def test_unsupported_data_is_rejected_by_its_type(data, fitted):
    with pytest.raises(UsageError, match=type(data).__name__):
        fitted.evaluate(data)


def test_data_has_to_be_named_for_a_model_of_users_own(fitted):
    """It is not evaluated on Fashion-MNIST."""
    with pytest.raises(UsageError, match="trained on 'arrays', so name the data"):
        fitted.evaluate()


def test_messages_name_no_argument_that_there_is_not(fitted, images, names):
    other = np.where(names == "Coat", "Cape", names)
    message = r"class 'Cape' is not one of the model's \(.*\); rename it, or leave it out$"
    with pytest.raises(DataError, match=message):
        fitted.evaluate((images, other))
    with pytest.raises(DataError, match=r"Classifier\.evaluate: no images"):
        fitted.evaluate([], [])


def test_a_folder_is_evaluated_as_a_whole(fitted, images, names, tmp_path):
    for position, (image, name) in enumerate(zip(images[:30], names[:30], strict=True)):
        folder = tmp_path / name.replace("/", " ")
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{position}.png")
    evaluation = fitted.evaluate(tmp_path)
    assert evaluation["n"] == 30
    assert evaluation.accuracy == fitted.score(images[:30], names[:30])


def test_images_of_the_training_are_not_evaluated(quick, images, names, tmp_path):
    for position, (image, name) in enumerate(zip(images, names, strict=True)):
        folder = tmp_path / "data" / name.replace("/", " ")
        folder.mkdir(exist_ok=True, parents=True)
        Image.fromarray(image).save(folder / f"{position}.png")
    Classifier.train(data=tmp_path / "data", out=tmp_path / "run", **quick)
    loaded = Classifier.load(tmp_path / "run", device="cpu")
    assert loaded.evaluate(tmp_path / "data")["n"] == 16


def test_evaluations_are_of_the_public_type(evaluation):
    assert isinstance(evaluation, Evaluation)


def test_mistakes_have_short_reprs(fitted, images, names):
    mistake = fitted.evaluate(images, names).mistakes[0]
    assert repr(mistake) == (
        f"Mistake({mistake.true} → {mistake.predicted} {mistake.confidence:.1%}, "
        f"image {mistake.index})"
    )
    assert len(repr([mistake])) < 80


def test_mistakes_name_the_files_of_a_folder(fitted, images, names, tmp_path):
    for position, (image, name) in enumerate(zip(images[:30], names[:30], strict=True)):
        folder = tmp_path / name.replace("/", " ")
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{position}.png")
    mistakes = fitted.evaluate(tmp_path).mistakes
    assert mistakes
    for mistake in mistakes:
        assert (tmp_path / mistake.name).parent.name == mistake.true.replace("/", " ")
        assert repr(mistake).endswith(f", {mistake.name})")
    assert not fitted.evaluate(images, names).mistakes[0].name


@pytest.mark.parametrize("count", [1.0, True, -1, "3", None])
def test_counts_are_integers(count, evaluation):
    with pytest.raises(UsageError, match=r"worst_mistakes: count = .*: should be an integer of at"):
        evaluation.worst_mistakes(count)
    with pytest.raises(UsageError, match=r"plot_mistakes: count = .*: should be an integer of at"):
        plot_mistakes(evaluation, count)
    assert len(evaluation.worst_mistakes(np.int64(2))) == 2
