import itertools
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from fashioncnn.artifacts.ood import OODDetector
from fashioncnn.errors import UsageError
from fashioncnn.inference.inputs import compute_views
from fashioncnn.inference.predictor import (
    BATCH,
    as_images,
    predict_files,
    predict_images,
    predict_logits,
    predict_probabilities,
    predict_views,
    predict_with_confidence,
)
from fashioncnn.inference.sources import ImageSource


@pytest.fixture
def model(tiny_outcome):
    return tiny_outcome.model


@pytest.fixture
def preprocessing(model):
    return model.preprocessing


def test_probabilities_sum_to_one(model, small):
    probabilities = predict_probabilities(model, small.test.images)
    assert probabilities.shape == (100, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_no_images_have_no_probabilities(model):
    assert predict_probabilities(model, np.empty((0, 28, 28), np.uint8)).shape == (0, 10)


def test_every_form_of_a_image_is_the_same_image(preprocessing, small, tmp_path):
    image = small.test.images[0]
    path = tmp_path / "a.png"
    Image.fromarray(image).save(path)
    forms = [
        image,
        image[None],
        image[None, None],
        image[None, ..., None],
        image.astype(np.int64),
        image / 255,
        (image / 255).astype(np.float32),
        torch.from_numpy(image),
        torch.from_numpy(image)[None, None] / 255,
        (torch.from_numpy(image) / 255).double(),
        Image.fromarray(image),
        path,
        str(path),
        [image],
        (path,),
    ]
    for form in forms:
        np.testing.assert_array_equal(as_images(form, preprocessing), image[None])


def test_mixed_sequences_keep_their_order(preprocessing, small):
    images = small.test.images
    mixed = [Image.fromarray(images[0]), images[1], images[2:4], torch.from_numpy(images[4])]
    np.testing.assert_array_equal(as_images(mixed, preprocessing), images[:5])
    assert as_images([], preprocessing).shape == (0, 28, 28)


def test_arrays_of_another_size_go_through_the_conversion(preprocessing):
    large = np.zeros((100, 60), np.uint8)
    large[20:80, 20:40] = 255
    assert as_images(large, preprocessing).shape == (1, 28, 28)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(28),
        np.zeros((2, 3, 28, 28)),
        np.zeros((28, 28, 3), np.uint8),
        np.zeros((28, 28, 1), np.uint8),  # one image as Keras has it, or 28 narrow ones
        np.zeros((28, 28, 4)),
        np.zeros((0, 0)),
        np.full((28, 28), 300),
        np.full((28, 28), -1.0),
        np.full((28, 28), 2.0),
        np.full((28, 28), np.nan),
        np.full((28, 28), "a"),
        {"a": 1},
        7,
    ],
    ids=lambda value: str(getattr(value, "shape", value)) + str(getattr(value, "dtype", "")),
)
def test_what_is_no_image_is_refused_in_one_line(wrong, preprocessing):
    with pytest.raises(UsageError) as caught:
        as_images(wrong, preprocessing)
    assert "\n" not in str(caught.value)


def test_broken_files_are_told_in_their_place(model, small, tmp_path, monkeypatch):
    monkeypatch.setattr("fashioncnn.inference.predictor.BATCH", 2)
    paths = []
    for i in range(5):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(small.test.images[i]).save(paths[-1])
    paths[3].write_bytes(b"broken")
    expected = predict_probabilities(model, small.test.images[:5])
    predictions = list(predict_files(model, paths))
    assert [p.source for p in predictions] == [str(p) for p in paths]
    assert [p.error is None for p in predictions] == [True, True, True, False, True]
    for i in (0, 1, 2, 4):
        np.testing.assert_allclose(predictions[i].probabilities, expected[i], rtol=1e-5)


def test_batch_of_nothing_but_broken_files(model, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (only,) = predict_files(model, [tmp_path / "a.png"])
    assert only.probabilities is None
    assert BATCH > 1


def test_probabilities_are_the_mean_over_views(model, small):
    images = small.test.images
    views = [images[:3], images[3:4], images[4:6]]
    each = predict_probabilities(model, images[:6])
    expected = [each[:3].mean(axis=0), each[3], each[4:6].mean(axis=0)]
    np.testing.assert_allclose(predict_views(model, views), expected)
    assert predict_views(model, []).shape == (0, 10)


def test_photographs_are_seen_mirrored_too(model, small):
    preprocessing = replace(model.preprocessing, views="photo")
    images = small.test.images[:2]
    both = predict_views(replace(model, preprocessing=preprocessing), [images])
    expected = predict_views(model, [np.concatenate([images, images[:, :, ::-1]])])
    np.testing.assert_allclose(both, expected, rtol=1e-5)


def test_confidence_is_the_likeliest_class_or_what_the_spread_of_logits_says(model, small):
    images = small.test.images
    views = [images[:3], images[3:4]]
    probabilities, confidences = predict_with_confidence(model, views)
    np.testing.assert_array_equal(confidences, probabilities.max(1))
    ood_detector = OODDetector(slope=1.5, intercept=-2.0)
    same, confidences = predict_with_confidence(replace(model, ood_detector=ood_detector), views)
    np.testing.assert_array_equal(same, probabilities)
    spreads = predict_logits(model, images[:4]).astype(float).std(1)
    odds = 1.5 * np.array([spreads[:3].mean(), spreads[3]]) - 2
    np.testing.assert_allclose(confidences, 1 / (1 + np.exp(-odds)), rtol=1e-5)
    assert [len(none) for none in predict_with_confidence(model, [])] == [0, 0]


def test_predictions_come_with_what_the_network_saw(model, small, monkeypatch):
    """As many views as it is given, of every image, in the order of the sources."""

    def forward_pair(image, preprocessing):
        view = compute_views(image, preprocessing)
        return np.concatenate([view, view[:, :, ::-1]])

    monkeypatch.setattr("fashioncnn.inference.inputs.compute_views", forward_pair)
    images = small.test.images
    sources = [ImageSource(str(i), png(images[i])) for i in range(5)]
    predictions = list(predict_images(model, sources))
    for i, prediction in enumerate(predictions):
        views = np.stack([images[i], images[i][:, ::-1]])
        np.testing.assert_array_equal(prediction.views, views)
        expected = predict_probabilities(model, views).mean(axis=0)
        np.testing.assert_allclose(prediction.probabilities, expected, rtol=1e-5)


def test_endless_images_are_predicted_as_they_come(model, small):
    images = (ImageSource(str(i), small.test.images[i % 100]) for i in itertools.count())
    predictions = predict_images(model, images)
    assert [next(predictions).source for _ in range(3 * BATCH)] == [
        str(i) for i in range(3 * BATCH)
    ]
    predictions.close()


def png(image):
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
