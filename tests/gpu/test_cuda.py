"""Training on a CUDA device: agreement with the CPU, graphs, resuming, memory."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from fashioncnn.config import resolve
from fashioncnn.errors import InterruptedRun, OutOfMemoryError
from fashioncnn.models.backend import torch_predictor
from fashioncnn.runs import create_run
from fashioncnn.training.initialize import create_batches, create_state
from fashioncnn.training.loop import fit
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model
from fashioncnn.training.step import GraphedStep, make_step, train_step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
RESIDUAL = ("model.channels=[16, 32]", "model.blocks=[1, 1]", "training.ema_decay=0.9")


@pytest.fixture
def settings_for(small):
    def make(*assignments, recipe="accurate", device="cuda", **flags):
        flags = {"epochs": 3, "batch_size": 64, "precision": "fp32", "device": device, **flags}
        settings = resolve(recipe, flags=flags, assignments=[*RESIDUAL, *assignments])
        return prepare_settings(settings, small)

    return make


def train(settings, dataset, steps=None):
    device = torch.device(settings.runtime.device)
    state = create_state(settings, dataset.train, dataset, device)
    batches = create_batches(settings, dataset.train, dataset, device)
    fit(state, batches)
    return state


def test_losses_on_cuda_and_cpu_agree_to_rounding(small, settings_for):
    curves = []
    for device in ("cuda", "cpu"):
        settings = settings_for("augmentation.erasing=0", device=device, epochs=2)
        curves.append([record["train_loss"] for record in train(settings, small).history])
    assert curves[0] == pytest.approx(curves[1], rel=2e-2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_graphed_steps_equal_direct_steps(small, settings_for, precision):
    weights = []
    for graphed in (True, False):
        settings = settings_for(precision=precision)
        device = torch.device("cuda")
        torch.backends.cudnn.deterministic = True
        state = create_state(settings, small.train, small, device)
        step = make_step(state)  # makes the learning rates tensors in either case
        if not graphed:
            step = partial(train_step, state)
        assert isinstance(step, GraphedStep) == graphed
        state.network.train()
        for epoch in range(4):
            for batch in create_batches(settings, small.train, small, device).epoch(epoch):
                step(batch)
        weights.append(torch.cat([p.detach().flatten() for p in state.network.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-5)


def test_resumed_training_gives_the_same_bytes(small, settings_for, tmp_path):
    settings = settings_for(precision="bf16", epochs=4)
    whole = create_run(tmp_path / "whole", settings)
    train_model(settings, small, run=whole)
    pieces = create_run(tmp_path / "pieces", settings)
    for stop_after in (3, 8):
        remaining = iter(range(stop_after - 1))
        with pytest.raises(InterruptedRun):
            train_model(
                settings,
                small,
                run=pieces,
                stop=lambda steps=remaining: (
                    None if next(steps, None) is not None else InterruptedRun("stopped")
                ),
            )
    train_model(settings, small, run=pieces)
    for name in ("model/model.safetensors", "predictions.npz"):
        assert (whole.path / name).read_bytes() == (pieces.path / name).read_bytes()
    losses = [[r["train_loss"] for r in run.read_history()] for run in (whole, pieces)]
    assert json.dumps(losses[0]) == json.dumps(losses[1])


def test_training_learns_in_bf16(small, settings_for):
    result = train_model(settings_for(precision="bf16", epochs=12, batch_size=32), small)
    assert result.history[-1]["train_accuracy"] > 0.8
    images = small.test.images[:8]
    on_cuda = torch_predictor(result.model).predict_images(images).probabilities
    result.model.network.cpu()
    on_cpu = torch_predictor(result.model).predict_images(images).probabilities
    np.testing.assert_allclose(on_cuda, on_cpu, atol=1e-2)


def test_too_large_a_batch_is_one_line(small, settings_for):
    settings = settings_for("model.channels=[64, 64]", batch_size=300, epochs=1)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.0005)
    try:
        with pytest.raises(OutOfMemoryError, match="not enough memory on cuda"):
            train_model(settings, small)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_loop_waits_for_the_device_at_most_once_per_fifty_steps(small, settings_for):
    settings = settings_for(batch_size=8, epochs=2)
    device = torch.device("cuda")
    state = create_state(settings, small.train, small, device)
    batches = create_batches(settings, small.train, small, device)
    step = make_step(state)
    state.network.train()
    warmup, *others = list(batches.epoch(0))[:30]
    for batch in (warmup, *others[:5]):
        step(batch)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in others[5:]:
            loss, correct = step(batch)
            state.progress.add(loss, correct, len(batch))
    finally:
        torch.cuda.set_sync_debug_mode("default")
