"""Run training steps one at a time: the only benchmark module that uses the loop's callbacks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from fashioncnn.data.dataset import Dataset
from fashioncnn.settings import Settings
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.run import train_model
from fashioncnn.training.state import TrainState


@dataclass(frozen=True)
class Step:
    """A completed optimizer step.

    Attributes:
        number: counted from 1, over all epochs.
        images: training images in its batch.
    """

    number: int
    images: int


class StopTraining(Exception):  # noqa: N818 - not an error
    """Raised by a callback to end the training."""


def run_steps(settings: Settings, dataset: Dataset, on_step: Callable[[Step], None]) -> None:
    """Train in memory exactly as ``fashioncnn train`` does.

    Args:
        settings: with every ``auto`` resolved.
        dataset: to train on.
        on_step: called after every optimizer step; ends the training by raising `StopTraining`.
    """
    with contextlib.suppress(StopTraining):
        train_model(settings, dataset, callbacks=[_StepCallback(on_step)])


class _StepCallback(Callback):
    """Converts the progress of the loop to `Step`."""

    def __init__(self, on_step: Callable[[Step], None]) -> None:
        self.call = on_step
        self.position = 0

    def on_step(self, state: TrainState) -> None:
        """Report a step; the position in the epoch starts again from 0 in each epoch."""
        progress = state.progress
        before = self.position if progress.position > self.position else 0
        self.position = progress.position
        self.call(Step(progress.step, progress.position - before))
