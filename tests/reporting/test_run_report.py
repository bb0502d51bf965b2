"""Reading a run folder, and its most confident mistakes."""

import json

import numpy as np
import pytest

from fashioncnn.config import resolve
from fashioncnn.data.dataset import Split
from fashioncnn.errors import RunError
from fashioncnn.evaluation.metrics import softmax
from fashioncnn.evaluation.predictions import load_predictions, save_predictions
from fashioncnn.reporting.mistakes import MISTAKES_SHOWN, find_mistakes, has_evaluated_images
from fashioncnn.reporting.run_report import data_warning, read_run
from fashioncnn.runs import create_run


def read_metrics(run):
    return json.loads(run.metrics.read_bytes())


def test_mistakes_are_incorrect_and_sorted_by_confidence(make_run, evaluated_images):
    run = make_run(accuracy=0.5)
    mistakes = read_run(run, {"test": evaluated_images}).mistakes
    assert len(mistakes) == MISTAKES_SHOWN
    assert all(m.true != m.predicted for m in mistakes)
    confidences = [m.confidence for m in mistakes]
    assert confidences == sorted(confidences, reverse=True)


def test_confidence_of_a_mistake_is_after_temperature_scaling(run, evaluated_images):
    metrics = read_metrics(run)
    metrics["test"]["calibrated"]["temperature"] = 4.0
    logits = load_predictions(run.predictions)[0]["test"].logits
    expected = softmax(logits / np.float32(4)).max(axis=1)
    for mistake in find_mistakes(run, metrics, {"test": evaluated_images}):
        assert np.isclose(expected, mistake.confidence).any()


def test_images_that_were_not_evaluated_are_not_shown(run, small):
    metrics = read_metrics(run)
    assert not has_evaluated_images(run, metrics, {"test": small.train})
    assert read_run(run, {"test": small.train}).mistakes == []
    assert read_run(run).mistakes == []


def test_missing_predictions_leave_out_the_mistakes(run, evaluated_images):
    run.predictions.unlink()
    assert read_run(run, {"test": evaluated_images}).mistakes == []


def test_unfinished_run_is_rejected(tmp_path):
    run = create_run(tmp_path / "run", resolve())
    with pytest.raises(RunError, match="not finished; resume it with --resume"):
        read_run(run)


def test_history_with_missing_epochs_is_rejected(run):
    run.write_history(run.read_history()[:1])
    with pytest.raises(RunError, match=r"damaged \(it has 1 of 2 epochs\)"):
        read_run(run)


@pytest.mark.parametrize(
    ("dataset", "warning"),
    [
        ("fashion-mnist", ""),
        ("sketches", "Synthetic sketches: this is not Fashion-MNIST."),
        ("closet", "Evaluated on 'closet': this is not Fashion-MNIST."),
    ],
)
def test_warning_names_data_other_than_fashion_mnist(dataset, warning):
    assert data_warning(dataset) == warning


def test_images_outside_of_the_classes_do_not_hide_the_mistakes(run, evaluated_images):
    """They have no predictions; positions and names of mistakes are those of the whole split."""
    outside = evaluated_images.subset(np.arange(3))
    allowed = np.eye(10, dtype=bool)[evaluated_images.labels]
    split = Split(
        np.concatenate([outside.images, evaluated_images.images]),
        np.concatenate([np.zeros(3, np.uint8), evaluated_images.labels]),
        allowed=np.concatenate([np.zeros((3, 10), bool), allowed]),
        names=tuple(f"{i}.png" for i in range(3 + len(evaluated_images))),
    )
    before = read_run(run, {"test": evaluated_images}).mistakes
    predictions, identity = load_predictions(run.predictions)
    identity["test_sha256"] = split.within_classes().sha256
    save_predictions(run.predictions, predictions, identity)
    mistakes = read_run(run, {"test": split}).mistakes
    assert before and [m.image for m in mistakes] == [m.image for m in before]
    assert [m.index for m in mistakes] == [m.index + 3 for m in before]
    assert [m.name for m in mistakes] == [f"{m.index}.png" for m in mistakes]
