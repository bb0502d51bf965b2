import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from fashioncnn.cli import progress as module
from fashioncnn.cli.progress import EpochLines
from fashioncnn.training.progress import LiveBar, epoch_line
from fashioncnn.training.state import Progress

RECORD = {
    "epoch": 3,
    "train_loss": 0.5,
    "train_accuracy": 0.8,
    "val_loss": None,
    "val_accuracy": None,
    "test_loss": 0.4,
    "test_accuracy": 0.85,
    "learning_rate": 1e-3,
    "seconds": 1.0,
    "images_per_second": 1234.5,
}


def test_epoch_line_omits_splits_that_were_not_evaluated():
    line = epoch_line(RECORD, 20)
    assert line == "epoch  3/20  train 0.5000 80.00%  test 0.4000 85.00%  1,234 img/s"


def state(epochs, name="", **progress):
    """Return what progress needs of the state of a training."""
    return SimpleNamespace(epochs=epochs, name=name, progress=Progress(**progress))


def test_lines_estimate_the_remaining_time_from_the_resumed_epoch(capsys, monkeypatch):
    clock = iter([100.0, 106.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    lines = EpochLines()
    lines.on_start(state(20, epoch=1), 1000)
    lines.on_epoch(state(20), RECORD)
    assert capsys.readouterr().err.endswith("  0:51 left\n")


def test_lines_name_the_network_if_there_are_several(capsys):
    lines = EpochLines()
    lines.on_start(state(5), 1000)
    lines.on_epoch(state(5, "teacher 1 of 2"), RECORD)
    line = capsys.readouterr().err.rstrip()
    assert line.startswith("teacher 1 of 2  epoch 3/5  train 0.5000")
    assert line.endswith(" left for this network")


def test_live_bar_shows_loss_accuracy_and_rate():
    bar = LiveBar()
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    bar.bar = type(bar.bar)(*bar.bar.columns, console=console)
    bar.task = bar.bar.add_task("training", total=1, state="")
    training = state(2, epoch=1, step=9, position=500, loss_sum=250, correct=400, seconds=0.5)
    bar.on_start(training, 1000)
    bar.on_step(training)
    bar.on_epoch(training, RECORD)
    bar.close()
    for text in ("epoch 2/2", "75%", "loss 0.5000", "80.0%", "1,000 img/s", "epoch 3/2"):
        assert text in screen.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (125, "2:05"), (3725, "1:02:05")])
def test_durations(seconds, text):
    assert module.duration(seconds) == text
