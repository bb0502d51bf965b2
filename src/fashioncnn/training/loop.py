"""The training loop: no files, no flags, no test split."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from fashioncnn.data.seeding import dropout_seed
from fashioncnn.models.transfer import set_training_mode
from fashioncnn.training.batches import Batches
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.rehearsal import RehearsalBatches
from fashioncnn.training.state import TrainState
from fashioncnn.training.step import make_step, set_learning_rate


def fit(
    state: TrainState, batches: Batches | RehearsalBatches, callbacks: Sequence[Callback] = ()
) -> None:
    """Train from ``state.progress`` to the last epoch, or until a callback sets a stop reason.

    Args:
        state: changed in place.
        batches: of the training split, on the device of the network.
        callbacks: called in their order.

    Raises:
        DivergedError: the loss is not finite.
        RankError: another process that trains the network has ended.
    """
    progress = state.progress
    set_training_mode(state.network)
    step = make_step(state)
    for callback in callbacks:
        callback.on_start(state, len(batches))
    while progress.epoch < state.epochs and not state.stop_reason:
        started = time.perf_counter()
        for batch in batches.epoch(progress.epoch, progress.position):
            set_learning_rate(state.optimizer, state.learning_rate(progress.step))
            seed = dropout_seed(state.seed, progress.step, state.ranks.rank)
            seed_dropout(state.device, seed)
            loss, correct = step(batch)
            if state.ema is not None:
                state.ema.update()
            progress.add(loss, correct, batch.size)
            progress.seconds += time.perf_counter() - started
            for callback in callbacks:
                callback.on_step(state)
            started = time.perf_counter()
        progress.settle()
        progress.seconds += time.perf_counter() - started
        record = state.finish_epoch()
        for callback in callbacks:
            callback.on_epoch(state, record)
    for callback in callbacks:
        callback.on_end(state)


def seed_dropout(device: torch.device, seed: int) -> None:
    """Seed the random numbers of a step on `device`."""
    if device.type == "cpu":  # torch.manual_seed would also initialize other devices
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
