from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn import Classifier
from fashioncnn.errors import ConfigError, DataError, UsageError


@pytest.fixture
def classifier(tiny_result):
    return Classifier(tiny_result.model, tiny_result.history)


def test_train_leaves_no_files(small):
    classifier = Classifier.train(data=small, epochs=1, device="cpu", threads=1)
    assert len(classifier.history) == 1
    assert list(Path().iterdir()) == []


def test_train_writes_a_whole_run_folder(small, tmp_path):
    Classifier.train(data=small, epochs=1, device="cpu", out=tmp_path / "run")
    assert (tmp_path / "run" / "report.html").exists()
    loaded = Classifier.load(tmp_path / "run", device="cpu")
    assert loaded.class_names == small.class_names


def test_train_finds_folders(idx_folder):
    classifier = Classifier.train(data=idx_folder, epochs=1, device="cpu")
    assert classifier.class_names == tuple("0123456789")


def test_misspelt_settings_are_refused_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        Classifier.train(data="sketches", epoch=3)
    with pytest.raises(ConfigError, match=r"training\.epochs"):
        Classifier.train(data="sketches", epochs=0)


def test_predictions_follow_probabilities(classifier, small):
    probabilities = classifier.predict_proba(small.test.images)
    np.testing.assert_array_equal(
        classifier.predict(small.test.images), probabilities.argmax(axis=1)
    )


def test_a_path_goes_in(classifier, small, tmp_path):
    Image.fromarray(small.test.images[0]).save(tmp_path / "a.png")
    assert classifier.predict(tmp_path / "a.png").shape == (1,)


def test_saved_and_loaded_answers_the_same(classifier, small, tmp_path):
    classifier.save(tmp_path / "model")
    loaded = Classifier.load(tmp_path / "model", device="cpu")
    np.testing.assert_allclose(
        loaded.predict_proba(small.test.images),
        classifier.predict_proba(small.test.images),
        rtol=1e-6,
    )
    assert "Intended use" in (tmp_path / "model" / "README.md").read_text("utf-8")


def test_evaluate_of_arrays_and_of_data_agree(classifier, small, tiny_result):
    of_arrays = classifier.evaluate(small.test.images, small.test.labels)
    of_data = classifier.evaluate(small)
    expected = tiny_result.metrics["test"]
    for judged in (of_arrays, of_data):
        assert judged["confusion"] == expected["confusion"]
        assert judged["loss"] == pytest.approx(expected["loss"])


@pytest.mark.parametrize(
    "labels", [[0.5] * 100, [[1]] * 100, [-1] * 100, [300] * 100, []], ids=lambda v: str(v)[:8]
)
def test_labels_that_are_none_are_refused(classifier, small, labels):
    with pytest.raises(UsageError, match="labels of shape"):
        classifier.evaluate(small.test.images, labels)


def test_labels_that_do_not_fit_are_refused(classifier, small):
    with pytest.raises(DataError, match="100 images but 3 labels"):
        classifier.evaluate(small.test.images, [1, 2, 3])
    with pytest.raises(DataError, match="label 10"):
        classifier.evaluate(small.test.images[:1], [10])
    with pytest.raises(UsageError, match="labels beside"):
        classifier.evaluate(small.test.images)


def test_load_of_nothing(tmp_path):
    with pytest.raises(UsageError, match="no such"):
        Classifier.load(tmp_path / "nothing")


def test_observer_is_told(small):
    seen = []

    class Watch:
        def begin(self, progress, images):
            seen.append(images)

        def step(self, progress):
            seen.append(progress.step)

        def epoch(self, record):
            seen.append(record["epoch"])

    Classifier.train(data=small, epochs=1, batch_size=150, device="cpu", observer=Watch())
    assert seen == [300, 1, 2, 1]


def test_repr_tells_what_it_is(classifier):
    assert repr(classifier).startswith("Classifier(fashion_cnn, ")


def test_photographs_are_judged_by_what_is_predicted_of_them(small):
    """By the mean over their views, and mirrored ones, not by one of them."""
    classifier = Classifier.load("photo", device="cpu")
    drawings = [Image.fromarray(image).resize((90, 70)) for image in small.test.images[:20]]
    answers = classifier.predict(drawings)
    judged = classifier.evaluate(drawings, answers)
    assert judged["accuracy"] == 1
    surest = np.log(classifier.predict_proba(drawings).max(axis=1))
    assert judged["calibrated"]["loss"] == pytest.approx(-surest.mean(), rel=1e-4)
