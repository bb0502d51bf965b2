"""Temperature, OOD detector and abstention threshold, fitted on the prediction path."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fashioncnn.artifacts.ood import logit_std
from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.data.dataset import Split
from fashioncnn.evaluation.calibration import (
    fit_abstention_threshold,
    fit_ood_detector,
    fit_temperature,
)
from fashioncnn.evaluation.metrics import cross_entropy
from fashioncnn.inference.predictor import Predictor
from fashioncnn.models.backend import torch_predictor
from fashioncnn.settings import FashionCNNConfig
from fashioncnn.training.calibration import HeldOut, calibrate
from fashioncnn.training.run import train_model

CPU = torch.device("cpu")


class LinearBackend:
    """Logits are the similarity to the mean image of each class."""

    def __init__(self, split):
        images = split.images.reshape(len(split), -1) / 255
        means = np.stack([images[split.labels == label].mean(0) for label in range(10)])
        self.weights = ((means - images.mean(0)) / 255).T.astype(np.float32)
        self.received = []

    def logits(self, images):
        self.received.append(images)
        return images.reshape(len(images), -1).astype(np.float32) @ self.weights


def make_predictor(dataset, **spec):
    values = {
        "architecture": FashionCNNConfig(),
        "labels": dataset.class_names,
        "preprocessing": Preprocessing(28, 0.0, 1.0, "fashion"),
        "dataset": "own",
    }
    return Predictor(LinearBackend(dataset.train), ModelSpec(**{**values, **spec}))


@pytest.fixture
def validation(small):
    return small.test


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_temperature_and_threshold_are_fitted_on_predictions(tta, small, validation, tiny_settings):
    predictor = make_predictor(small, tta=tta)
    settings = tiny_settings("training.abstain_below=auto")
    spec = calibrate(predictor, settings, validation, CPU)
    calibrated = Predictor(predictor.backend, spec).predict_images(validation.images)

    def loss(temperature):
        scaled = Predictor(predictor.backend, spec.replace(temperature=temperature))
        probabilities = scaled.predict_images(validation.images).probabilities
        return -np.log(probabilities[np.arange(100), validation.labels]).mean()

    best = loss(spec.temperature)
    assert best < min(loss(spec.temperature * 0.9), loss(spec.temperature * 1.1), loss(1.0))
    correct = calibrated.probabilities.argmax(1) == validation.labels
    assert spec.abstain_below == fit_abstention_threshold(calibrated.confidences, correct)
    assert calibrated.abstained[correct].mean() == pytest.approx(0.1, abs=1 / correct.sum())
    assert (spec.tta, spec.ood_detector) == (tta, None)


def test_given_temperature_and_threshold_are_kept(small, validation, tiny_settings):
    settings = tiny_settings("training.temperature=0.7", "training.abstain_below=0.3")
    predictor = make_predictor(small)
    for split in (validation, None):
        spec = calibrate(predictor, settings, split, CPU)
        assert (spec.temperature, spec.abstain_below) == (0.7, 0.3)


def test_without_a_validation_split_nothing_is_fitted(small, tiny_settings):
    settings = tiny_settings("training.abstain_below=auto")
    predictor = make_predictor(small, temperature=3.0)
    spec = calibrate(predictor, settings, None, CPU)
    assert (spec.temperature, spec.abstain_below, spec.ood_detector) == (1.0, 0.0, None)


def test_model_of_photographs_is_calibrated_on_rendered_images(small, validation, tiny_settings):
    predictor = make_predictor(small, tta="flip")
    settings = tiny_settings(
        "augmentation.photograph=0.5",
        "augmentation.outlier_exposure=0.3",
        "training.abstain_below=auto",
    )
    spec = calibrate(predictor, settings, validation, CPU)
    images, flipped, outliers, flipped_outliers, *_ = predictor.backend.received
    assert images.dtype == outliers.dtype == np.uint8
    assert images.shape == outliers.shape == validation.images.shape
    assert not np.array_equal(images, validation.images)
    np.testing.assert_array_equal(flipped, images[:, :, ::-1])
    backend = LinearBackend(small.train)

    def mean_std(*augmented):
        return np.mean([logit_std(backend.logits(views)) for views in augmented], axis=0)

    detector = fit_ood_detector(mean_std(images, flipped), mean_std(outliers, flipped_outliers))
    assert spec.ood_detector == detector
    logits = np.stack([backend.logits(views) for views in (images, flipped)])
    assert spec.temperature == fit_temperature(logits, validation.labels)
    predictions = Predictor(backend, spec).predict_images(images)
    correct = predictions.probabilities.argmax(1) == validation.labels
    assert spec.abstain_below == fit_abstention_threshold(predictions.confidences, correct)


def test_rendering_follows_from_the_seed(small, validation, tiny_settings):
    def rendered(seed):
        predictor = make_predictor(small)
        settings = tiny_settings("augmentation.photograph=0.5", seed=seed)
        calibrate(predictor, settings, validation, CPU)
        return predictor.backend.received[0]

    np.testing.assert_array_equal(rendered(0), rendered(0))
    assert not np.array_equal(rendered(0), rendered(1))


def test_calibration_lowers_the_validation_loss_of_a_training(small, tiny_settings):
    settings = tiny_settings("training.label_smoothing=0.3", "data.validation=auto")
    result = train_model(settings, small)
    metrics = result.metrics["validation"]
    temperature = result.model.spec.temperature
    assert metrics["calibrated"]["temperature"] == temperature != 1
    assert metrics["calibrated"]["loss"] < metrics["loss"]
    validation = result.predictions["validation"]
    scaled = validation.logits / np.float32(temperature)
    assert metrics["calibrated"]["loss"] == cross_entropy(scaled, validation.labels)


def test_metrics_of_a_model_with_flips_are_those_of_its_predictions(small, tiny_settings):
    settings = tiny_settings("data.views=photo", "data.validation=auto", epochs=1)
    result = train_model(settings, small)
    assert result.model.spec.tta == "flip"
    validation = result.predictions["validation"]
    images = small.train.images[validation.indices]
    probabilities = torch_predictor(result.model).predict_images(images).probabilities
    of_labels = probabilities[np.arange(len(images)), validation.labels]
    metrics = result.metrics["validation"]
    assert metrics["calibrated"]["loss"] == pytest.approx(-np.log(of_labels).mean(), rel=1e-6)
    assert metrics["accuracy"] == (probabilities.argmax(1) == validation.labels).mean()


def test_detector_separates_outliers_after_training(small, tiny_settings):
    settings = tiny_settings(
        "data.validation=auto",
        "augmentation.photograph=0.5",
        "augmentation.outlier_exposure=0.3",
        "training.abstain_below=auto",
        "optimizer.learning_rate=0.01",
        epochs=8,
    )
    spec = train_model(settings, small).model.spec
    assert spec.ood_detector.slope > 0
    assert 0 < spec.abstain_below < 1


def test_threshold_below_one_is_kept_for_certain_predictions(small, tiny_settings):
    """Rounded to 1, a threshold would make every prediction an abstention."""
    predictor = make_predictor(small)
    predictor.backend.weights *= 1e4
    images = small.test.images[:20]
    labels = predictor.backend.logits(images).argmax(1).astype(np.uint8)
    settings = tiny_settings("training.abstain_below=auto")
    spec = calibrate(predictor, settings, Split(images, labels), CPU)
    assert 0.999 < spec.abstain_below < 1


def with_views(split, allowed):
    views = tuple(np.stack([image, image[:, ::-1]]) for image in split.images)
    return replace(split, views=views, allowed=allowed)


def test_a_fold_of_outliers_only_has_no_part_in_the_temperature(small, tiny_settings):
    predictor = make_predictor(small)
    images = small.test.subset(np.arange(60))
    inside = with_views(images, np.eye(10, dtype=bool)[images.labels])
    others = replace(small.test.subset(np.arange(60, 80)), labels=np.zeros(20, np.uint8))
    outside = with_views(others, np.zeros((20, 10), bool))
    settings = tiny_settings("training.abstain_below=auto")
    folds = [HeldOut(predictor, split) for split in (outside, inside)]
    spec = calibrate(predictor, settings, None, CPU, folds)
    alone = calibrate(predictor, settings, None, CPU, folds[1:])
    assert spec.temperature == alone.temperature != 1
    assert (alone.ood_detector, spec.ood_detector is None) == (None, False)
    without = calibrate(predictor, settings, None, CPU, folds[:1])
    assert (without.temperature, without.abstain_below) == (1.0, 0.0)
