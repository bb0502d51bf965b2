"""The predictor, with a NumPy backend: views, flips, temperature, OOD detector, abstention."""

import itertools

import numpy as np
import pytest
from PIL import Image
from scipy.special import expit, softmax

from fashioncnn.artifacts.ood import OODDetector
from fashioncnn.errors import DataError, UsageError
from fashioncnn.inference import predictor as module
from fashioncnn.inference.predictor import Prediction
from fashioncnn.inference.sources import ImageSource


def network_logits(backend, images):
    return images.reshape(len(images), -1) @ backend.weights.astype(np.float64)


def test_probabilities_are_the_softmax_of_the_logits(make_predictor, backend, images):
    predictions = make_predictor().predict_images(images)
    expected = softmax(network_logits(backend, images), axis=1)
    np.testing.assert_allclose(predictions.probabilities, expected, rtol=1e-5)
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, rtol=1e-12)
    assert predictions.probabilities.dtype == np.float64
    assert len(predictions) == 20


def test_temperature_divides_the_logits(make_predictor, backend, images):
    predictions = make_predictor(temperature=0.4).predict_images(images)
    expected = softmax(network_logits(backend, images) / 0.4, axis=1)
    np.testing.assert_allclose(predictions.probabilities, expected, rtol=1e-5)


def test_probabilities_are_the_mean_over_views(make_predictor, images):
    predictor = make_predictor(temperature=0.5)
    each = predictor.predict_images(images[:6])
    predictions = predictor.predict_views([images[:3], images[3:4], images[4:6]])
    for values, of_views in (
        (predictions.probabilities, each.probabilities),
        (predictions.std, each.std),
    ):
        expected = [of_views[:3].mean(axis=0), of_views[3], of_views[4:6].mean(axis=0)]
        np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_views_given_as_one_array_or_a_list_are_the_same(make_predictor, images):
    predictor = make_predictor(tta="flip")
    views = images.reshape(10, 2, 8, 8)
    of_array, of_list = predictor.predict_views(views), predictor.predict_views(list(views))
    np.testing.assert_array_equal(of_array.probabilities, of_list.probabilities)


def test_flips_are_averaged_with_the_views(make_predictor, images):
    predictions = make_predictor(tta="flip", temperature=0.7).predict_views([images[:3]])
    views = np.concatenate([images[:3], images[:3, :, ::-1]])
    expected = make_predictor(temperature=0.7).predict_views([views])
    np.testing.assert_allclose(predictions.probabilities, expected.probabilities, rtol=1e-6)
    np.testing.assert_allclose(predictions.std, expected.std, rtol=1e-6)


def test_network_is_called_once_for_all_images_and_once_for_their_flips(
    make_predictor, backend, images
):
    make_predictor(tta="flip").predict_views([images[:3], images[3:8]])
    assert backend.batches == [8, 8]


def test_confidence_is_the_highest_probability(make_predictor, images):
    predictions = make_predictor(temperature=0.3).predict_images(images)
    np.testing.assert_array_equal(predictions.confidences, predictions.probabilities.max(axis=1))


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_confidence_of_an_ood_detector_depends_on_the_logit_standard_deviation(
    tta, make_predictor, backend, images
):
    detector = OODDetector(slope=1.5, intercept=-0.5)
    predictor = make_predictor(tta=tta, ood_detector=detector, temperature=0.5)
    predictions = predictor.predict_views([images[:3], images[3:4]])
    std = network_logits(backend, images[:4]).std(axis=1)
    if tta == "flip":
        std = (std + network_logits(backend, images[:4, :, ::-1]).std(axis=1)) / 2
    expected = expit(1.5 * np.array([std[:3].mean(), std[3]]) - 0.5)
    np.testing.assert_allclose(predictions.confidences, expected, rtol=1e-5)
    without = make_predictor(tta=tta, temperature=0.5).predict_views([images[:3], images[3:4]])
    np.testing.assert_array_equal(predictions.probabilities, without.probabilities)


def test_predictions_below_the_threshold_are_abstentions(make_predictor, images):
    confidences = make_predictor(temperature=0.3).predict_images(images).confidences
    threshold = float(np.sort(confidences)[7])
    predictions = make_predictor(temperature=0.3, abstain_below=threshold).predict_images(images)
    np.testing.assert_array_equal(predictions.abstained, confidences < threshold)
    assert predictions.abstained.sum() == 7
    assert not make_predictor().predict_images(images).abstained.any()


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_no_images_have_no_predictions(tta, make_predictor):
    predictor = make_predictor(tta=tta)
    for views in ([], np.empty((0, 1, 8, 8), np.uint8)):
        predictions = predictor.predict_views(views)
        assert predictions.probabilities.shape == (0, 3)
        assert [len(a) for a in (predictions.confidences, predictions.abstained)] == [0, 0]
        assert predictor.logits(views).shape == (0, 3)
    assert len(predictor.predict_images(np.empty((0, 8, 8), np.uint8))) == 0


@pytest.mark.parametrize("detector", [None, OODDetector(1.0, 0.0)], ids=["no", "detector"])
def test_no_images_have_no_confidences(detector, make_predictor):
    assert make_predictor(ood_detector=detector).predict_views([]).confidences.shape == (0,)


def test_logits_of_single_views_are_those_of_the_network(make_predictor, backend, images):
    logits = make_predictor(temperature=0.4).logits(images[:, None])
    np.testing.assert_array_equal(logits, backend.logits(images))


@pytest.mark.parametrize(
    ("tta", "views"), [("flip", 1), ("none", 2), ("flip", 2)], ids=["flip", "views", "both"]
)
def test_softmax_of_averaged_logits_at_the_temperature_predicts(tta, views, make_predictor, images):
    predictor = make_predictor(tta=tta, temperature=0.4)
    of_images = images.reshape(-1, views, 8, 8)
    logits = predictor.logits(of_images)
    assert logits.dtype == np.float32
    expected = predictor.predict_views(of_images).probabilities
    np.testing.assert_allclose(softmax(logits / 0.4, axis=1), expected, rtol=1e-5)


def test_logits_of_probabilities_that_are_zero_are_finite(make_predictor):
    logits = make_predictor().to_logits(np.array([[1.0, 0.0, 0.0]]))
    assert np.isfinite(logits).all()


def test_stream_keeps_the_order_and_has_errors_in_place(make_predictor, images, png, monkeypatch):
    monkeypatch.setattr(module, "BATCH_SIZE", 3)
    contents = [png(images[i]) for i in range(10)]
    contents[4] = b"text"
    contents[5] = UsageError("b: no such file")
    contents[6] = DataError("c: truncated")
    sources = [ImageSource(str(i), content) for i, content in enumerate(contents)]
    predictor = make_predictor(abstain_below=0.35)
    predictions = list(predictor.predict_sources(iter(sources)))
    expected = predictor.predict_images(images[:10])
    assert [p.source for p in predictions] == [str(i) for i in range(10)]
    for i, prediction in enumerate(predictions):
        if i in (4, 5, 6):
            assert prediction.probabilities is prediction.confidence is prediction.views is None
            assert not prediction.abstained
            continue
        assert prediction.error is None and prediction.found and not prediction.resized
        np.testing.assert_array_equal(prediction.views, images[i][None])
        np.testing.assert_allclose(prediction.probabilities, expected.probabilities[i], rtol=1e-6)
        assert prediction.confidence == pytest.approx(expected.confidences[i], rel=1e-6)
        assert prediction.abstained == expected.abstained[i]
    assert "not a JPEG" in predictions[4].error and predictions[4].found
    assert (predictions[5].error, predictions[5].found) == ("b: no such file", False)
    assert (predictions[6].error, predictions[6].found) == ("c: truncated", True)


def test_images_of_another_size_are_reported_as_resized(make_predictor, png):
    large = np.zeros((20, 10), np.uint8)
    (prediction,) = make_predictor().predict_sources([ImageSource("a", png(large))])
    assert prediction.resized
    assert prediction.views.shape == (1, 8, 8)


def test_each_image_of_a_stream_has_all_its_views(make_predictor, images, png, monkeypatch):
    def image_and_transpose(image, *_):
        return np.stack([np.asarray(image), np.asarray(image).T])

    monkeypatch.setattr("fashioncnn.inference.inputs.compute_views", image_and_transpose)
    predictor = make_predictor()
    sources = [ImageSource(str(i), png(images[i])) for i in range(3)]
    predictions = list(predictor.predict_sources(sources))
    expected = predictor.predict_views([np.stack([x, x.T]) for x in images[:3]])
    for i, prediction in enumerate(predictions):
        np.testing.assert_array_equal(prediction.views, np.stack([images[i], images[i].T]))
        np.testing.assert_allclose(prediction.probabilities, expected.probabilities[i], rtol=1e-6)


def test_batch_of_errors_only(make_predictor, backend):
    sources = [ImageSource(name, b"") for name in "ab"]
    predictions = list(make_predictor().predict_sources(sources))
    assert [p.probabilities for p in predictions] == [None, None]
    assert backend.batches == []


def test_endless_stream_is_predicted_lazily(make_predictor, images):
    taken = itertools.count()
    endless = (ImageSource(str(i), images[i % 20]) for i in taken)
    predictions = make_predictor().predict_sources(endless)
    n = 3 * module.BATCH_SIZE
    assert [next(predictions).source for _ in range(n)] == [str(i) for i in range(n)]
    predictions.close()
    assert next(taken) < 10 * n


def test_closed_stream_takes_no_more_sources(make_predictor, images):
    taken = itertools.count()
    predictions = make_predictor().predict_sources(ImageSource(str(i), images[0]) for i in taken)
    next(predictions)
    predictions.close()
    first, second = next(taken), next(taken)
    assert second == first + 1


def test_files_are_predicted_in_order(make_predictor, images, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for image, path in zip(images, paths, strict=False):
        Image.fromarray(image).save(path)
    predictor = make_predictor()
    predictions = list(predictor.predict_files(paths))
    assert [p.source for p in predictions] == [str(path) for path in paths]
    expected = predictor.predict_images(images[:3]).probabilities
    np.testing.assert_allclose([p.probabilities for p in predictions], expected, rtol=1e-6)


def test_prediction_is_short_as_text_and_shows_its_input_in_notebooks():
    views = np.full((2, 28, 28), 200, np.uint8)
    probabilities = np.array([0.25, 0.75])
    answer = Prediction("a<b>.png", probabilities, None, views, abstained=True, name="Bag & co")
    assert repr(answer) == "Prediction(a<b>.png: Bag & co 75.0%, abstained)"
    page = answer._repr_html_()
    assert "Bag &amp; co 75.0%" in page and "data:image/png" in page
    failed = Prediction("a<b>.png", None, "no image")
    assert failed.probability is None
    assert repr(failed) == "Prediction(a<b>.png: no image)"
    assert failed._repr_html_() == "<div>a&lt;b&gt;.png: no image</div>"
