"""Epochs that are added to a run."""

from pathlib import Path

import pytest

from fashioncnn.errors import UsageError
from fashioncnn.training.extension import can_extend, check_extension


@pytest.mark.parametrize(("schedule", "extendable"), [("constant", True), ("cosine", False)])
def test_epochs_can_be_added_to_a_constant_schedule(schedule, extendable, tiny_settings):
    assert can_extend(tiny_settings(f"schedule.name={schedule}")) == extendable


def test_fewer_epochs_than_the_run_was_started_with_are_rejected(tiny_settings):
    with pytest.raises(UsageError, match="--epochs 1: run was started with 2 epochs; it can only"):
        check_extension(tiny_settings(epochs=2), 1, Path("run"))


def test_a_run_whose_learning_rate_has_decayed_is_not_extended(tiny_settings):
    settings = tiny_settings("schedule.name=linear", epochs=2)
    with pytest.raises(UsageError, match="--epochs 3: the learning rate of run has decayed to 0"):
        check_extension(settings, 3, Path("run"))


def test_a_run_with_a_constant_learning_rate_is_extended(tiny_settings):
    check_extension(tiny_settings("schedule.name=constant", epochs=2), 3, Path("run"))
