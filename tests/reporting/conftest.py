"""Run folders with synthetic predictions, which take no training."""

import numpy as np
import pytest

from fashioncnn.config import resolve
from fashioncnn.data.dataset import Split
from fashioncnn.evaluation.metrics import compute_metrics
from fashioncnn.evaluation.predictions import SplitPredictions, save_predictions
from fashioncnn.files import write_json
from fashioncnn.runs import create_run

EPOCHS = 2


def random_logits(labels, accuracy, seed, classes=10):
    """Return (n, classes) float32 logits of which about a fraction `accuracy` is correct."""
    generator = np.random.default_rng(seed)
    incorrect = (labels + generator.integers(1, classes, len(labels))) % classes
    predicted = np.where(generator.random(len(labels)) < accuracy, labels, incorrect)
    logits = generator.normal(size=(len(labels), classes)).astype(np.float32)
    logits[np.arange(len(labels)), predicted] += 4
    return logits


def record(epoch, *, test=True):
    """Return one line of history.jsonl without a validation split."""
    curve = {"test_loss": 1.5 / epoch, "test_accuracy": 0.4 * epoch}
    return {
        "epoch": epoch,
        "train_loss": 2.0 / epoch,
        "train_accuracy": 0.3 * epoch,
        "val_loss": None,
        "val_accuracy": None,
        **(curve if test else dict.fromkeys(curve)),
    }


def summary(*, test=True):
    """Return the summary of `EPOCHS` records."""
    best = {
        "best_test_accuracy": {"value": 0.8, "epoch": 2},
        "lowest_test_loss": {"value": 0.75, "epoch": 2},
        "final_test_accuracy": 0.8,
        "final_test_loss": 0.75,
    }
    return {
        "final_train_loss": 1.0,
        **(best if test else {}),
        "epochs": EPOCHS,
        "selected_epoch": EPOCHS,
        "seconds": 12.0,
        "peak_memory_bytes": 300_000_000,
    }


def environment(dataset):
    """Return the content of environment.json."""
    keys = ("cpu", "gpu", "cores", "device", "precision", "threads", "python", "platform")
    return {
        "schema": 1,
        **dict.fromkeys((*keys, "git_commit")),
        "packages": {"numpy": "2.0.0"},
        "data": {"name": dataset, "sha256": {"train": "a" * 64, "test": "b" * 64}},
    }


@pytest.fixture
def evaluated_images(small) -> Split:
    return small.test


@pytest.fixture
def make_run(tmp_path, small):
    """Return a function that writes a finished run evaluated on the small test split."""

    def make(
        name="run-a",
        *assignments,
        accuracy=0.7,
        evaluated=True,
        class_names=small.class_names,
        dataset="sketches",
    ):
        settings = resolve(assignments=["data.source='sketches'", *assignments])
        run = create_run(tmp_path / name, settings)
        labels = small.test.labels
        logits = random_logits(labels, accuracy, settings.training.seed)
        evaluation = compute_metrics(
            logits,
            labels,
            class_names,
            dataset=dataset,
            split="test",
            parameters=1234,
            multiply_adds=5678,
        )
        metrics = {"schema": 1, "validation": None, "test": evaluation if evaluated else None}
        run.write_history([record(epoch, test=evaluated) for epoch in range(1, EPOCHS + 1)])
        write_json(run.environment, environment(dataset))
        identity = {"model_sha256": name, "precision": "fp32", "test_sha256": small.test.sha256}
        save_predictions(run.predictions, {"test": SplitPredictions(logits, labels)}, identity)
        write_json(run.metrics, {**metrics, "summary": summary(test=evaluated)})
        return run

    return make


@pytest.fixture
def run(make_run):
    return make_run()
