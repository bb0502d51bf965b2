"""A training neither depends on the caller's state of torch nor changes it."""

import contextlib
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fashioncnn.kernels import unavailable_reason
from fashioncnn.models import kernels_of
from fashioncnn.models.backend import torch_predictor
from fashioncnn.models.trained_model import load_model
from fashioncnn.runs import create_run
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.run import train_model

from ..torch_state import describe_state, two_threads


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


CALLER_STATES = {
    "float64": lambda: default_dtype(torch.float64),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "random numbers": lambda: contextlib.nullcontext(torch.manual_seed(99)),
}
VARIANT = (
    "model.name=batchnorm_cnn",
    "model.channels=[4, 8]",
    "model.whitening=true",
    "optimizer.name=muon",
    "optimizer.learning_rate=0.05",
    "optimizer.adam_learning_rate=0.005",
    "augmentation.mixup=0.4",
    "augmentation.blur=1.0",
    "augmentation.rotation=10",
    "data.class_weights=auto",
    "data.validation=20",
    "training.ema_decay=0.9",
    "training.abstain_below=auto",
    "distillation.ensemble_size=1",
)


@pytest.fixture(scope="module")
def expected_result(mini, tiny_settings):
    return train_model(tiny_settings(*VARIANT, dataset=mini), mini)


@pytest.mark.parametrize("state", CALLER_STATES.values(), ids=CALLER_STATES)
def test_training_ignores_and_restores_the_callers_state(
    state, expected_result, mini, tiny_settings, tmp_path
):
    with state():
        settings = tiny_settings(*VARIANT, dataset=mini)
        before = describe_state()
        run = create_run(tmp_path / "run", settings)
        result = train_model(settings, mini, run=run)
        loaded = load_model(run.path)
        assert describe_state() == before
    assert result.model.sha256 == loaded.sha256 == expected_result.model.sha256
    times = "seconds", "images_per_second"
    for record, expected in zip(result.history, expected_result.history, strict=True):
        assert {k: v for k, v in record.items() if k not in times} == {
            k: v for k, v in expected.items() if k not in times
        }
    assert not any(p.is_inference() for p in loaded.network.parameters())


def test_training_uses_the_callers_threads(mini, tiny_settings, expected_result):
    with two_threads():
        settings = tiny_settings(*VARIANT, dataset=mini)
        assert settings.runtime.threads == 2
        result = train_model(settings, mini)
        assert torch.get_num_threads() == 2
    losses = [record["train_loss"] for record in result.history]
    expected = [record["train_loss"] for record in expected_result.history]
    assert losses == pytest.approx(expected, rel=1e-3)


def test_model_with_other_kernels_predicts_in_a_thread_while_another_trains(mini, tiny_settings):
    """Neither the training nor the predictions change."""
    settings = tiny_settings("optimizer.learning_rate=0.01", dataset=mini)
    expected = train_model(settings, mini).model.sha256
    kernels = "torch" if unavailable_reason() else "native"
    predictor = torch_predictor(load_model(Path("accurate"), kernels=kernels))
    images = mini.test.images[:4]
    probabilities = predictor.predict_images(images).probabilities
    results, stop = [], threading.Event()

    def predict():
        while not stop.is_set():
            results.append(predictor.predict_images(images).probabilities)

    class WaitForPrediction(Callback):
        def on_step(self, state):
            assert kernels_of(state.network) == "torch"
            before = len(results)
            while len(results) == before:
                assert thread.is_alive()
                time.sleep(0.001)

    thread = threading.Thread(target=predict)
    thread.start()
    try:
        trained = train_model(settings, mini, callbacks=[WaitForPrediction()]).model.sha256
    finally:
        stop.set()
        thread.join()
    assert trained == expected
    assert len(results) >= 8
    for result in results:
        np.testing.assert_array_equal(result, probabilities)
