"""The PyTorch backend of the predictor, and its independence of the caller's state."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from fashioncnn.models import backend as module
from fashioncnn.models.backend import (
    TorchBackend,
    compute_logits,
    normalize,
    to_tensor,
    torch_predictor,
)

from ..torch_state import describe_state

CPU = torch.device("cpu")


@pytest.fixture
def model(tiny_result):
    """Return a model with a preprocessing that changes the values."""
    spec = tiny_result.model.spec
    preprocessing = replace(spec.preprocessing, mean=0.3, std=0.4)
    return replace(tiny_result.model, spec=spec.replace(preprocessing=preprocessing))


def test_logits_are_those_of_the_network(model, small):
    images = small.test.images
    logits = TorchBackend(model).logits(images)
    with torch.no_grad():
        inputs = (torch.from_numpy(images)[:, None].double() / 255 - 0.3) / 0.4
        expected = model.network.double()(inputs)
    np.testing.assert_allclose(logits, expected.numpy(), rtol=1e-3, atol=1e-4)
    assert logits.dtype == np.float32


def test_batches_do_not_change_the_logits(model, small, monkeypatch):
    images = small.test.images
    expected = TorchBackend(model).logits(images)
    monkeypatch.setattr(module, "BATCH_SIZE", 7)
    np.testing.assert_allclose(TorchBackend(model).logits(images), expected, rtol=1e-5, atol=1e-6)


def test_bf16_logits_are_close_to_those_in_fp32(model, small):
    logits, exact = (TorchBackend(model, p).logits(small.test.images) for p in ("bf16", "fp32"))
    assert logits.dtype == np.float32
    assert not np.array_equal(logits, exact)
    np.testing.assert_allclose(logits, exact, atol=0.05)


def test_no_images_have_no_logits(model):
    assert TorchBackend(model).logits(np.empty((0, 28, 28), np.uint8)).shape == (0, 10)


def test_network_computes_in_evaluation_mode_and_keeps_its_mode(model, small):
    images = to_tensor(small.test.images, CPU)
    model.network.train()
    logits = compute_logits(model.network, model.spec.preprocessing, images)
    assert model.network.training
    model.network.eval()
    again = compute_logits(model.network, model.spec.preprocessing, images)
    assert not model.network.training
    np.testing.assert_array_equal(logits, again)


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images[:, :, ::-1],
        lambda images: images[::-1],
        lambda images: np.frombuffer(images.tobytes(), np.uint8).reshape(images.shape),
        np.asfortranarray,
    ],
    ids=["flipped", "reversed", "read-only", "column-major"],
)
def test_arrays_of_any_memory_layout_are_accepted(change, small):
    images = change(small.test.images)
    tensor = to_tensor(images, CPU)
    assert tensor.shape == (100, 1, 28, 28)
    np.testing.assert_array_equal(tensor[:, 0].numpy(), images)


def test_contiguous_arrays_are_not_copied(small):
    images = small.test.images.copy()
    assert np.shares_memory(to_tensor(images, CPU).numpy(), images)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalization_does_not_change_its_input(dtype, model):
    images = torch.arange(256).view(1, 1, 16, 16).to(dtype)
    before = images.clone()
    normalized = normalize(images, model.spec.preprocessing)
    assert torch.equal(images, before)
    torch.testing.assert_close(normalized, (before.float() / 255 - 0.3) / 0.4)


@contextlib.contextmanager
def float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


MODES = {
    "float64": float64,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_predictions_ignore_and_keep_the_callers_modes(mode, model, small):
    images, labels = small.test.images[:8], np.arange(8)
    predictor = torch_predictor(model)
    expected = predictor.predict_images(images).probabilities
    expected_maps = predictor.backend.activation_maps(images, labels)
    with mode():
        before = describe_state()
        probabilities = predictor.predict_images(images).probabilities
        maps = predictor.backend.activation_maps(images, labels)
        assert describe_state() == before
    np.testing.assert_array_equal(probabilities, expected)
    np.testing.assert_array_equal(maps, expected_maps)
