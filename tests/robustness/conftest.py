"""Data of 80 drawings, and constants in place of what differs between equal runs."""

import io
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ..idx import write_idx
from .commands import SPACE


@pytest.fixture(scope="session")
def data(tmp_path_factory, sketches):
    """A folder with IDX files of 60 training images, a search space, and three images."""
    folder = tmp_path_factory.mktemp("robustness") / "data"
    folder.mkdir()
    for prefix, split, n in (("train", sketches.train, 60), ("t10k", sketches.test, 20)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", split.images[:n])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", split.labels[:n])
    (folder / "space.toml").write_text(SPACE)
    (folder / "images").mkdir()
    for number in range(3):
        Image.fromarray(255 - sketches.test.images[number]).save(folder / f"images/{number}.png")
    return folder


@pytest.fixture
def same_times(monkeypatch):
    """Record the same times and the same memory in every run, so that results can be compared."""
    from fashioncnn.training.state import TrainState

    finish_epoch = TrainState.finish_epoch

    def finish_epoch_in_one_second(state):
        record = finish_epoch(state)
        record |= {"seconds": 1.0, "images_per_second": 40.0}
        return record

    monkeypatch.setattr(TrainState, "finish_epoch", finish_epoch_in_one_second)
    monkeypatch.setattr("fashioncnn.training.finalize.peak_memory_bytes", lambda: 10**8)


@pytest.fixture
def fast(monkeypatch):
    """Draw no figures, which takes longer than all the rest; and use threads as workers."""
    monkeypatch.setenv("FASHIONCNN_KERNELS", "torch")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save_nothing)


def save_nothing(figure, file, format, **options):
    """Stand in for `Figure.savefig`; the content depends on the data of the lines."""
    lines = [line.get_xydata().tolist() for axes in figure.axes for line in axes.lines]
    if isinstance(file, io.StringIO):
        file.write(f'<svg viewBox="0 0 1 1"><text>{lines}</text></svg>')
    else:
        file.write(b"PNG " + repr(lines).encode())


@pytest.fixture
def thread_workers(monkeypatch):
    """Use threads of this process as workers of a search, with constant times."""
    pytest.importorskip("optuna", reason="needs the extra [tune]")
    import fashioncnn.tuning.worker as worker

    from ..tuning.helpers import ThreadContext

    train_trial = worker.train_trial
    monkeypatch.setattr(
        worker, "train_trial", lambda *arguments: replace(train_trial(*arguments), seconds=1.0)
    )
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: ThreadContext)
    monkeypatch.setattr("multiprocessing.resource_tracker.ensure_running", lambda: None)
