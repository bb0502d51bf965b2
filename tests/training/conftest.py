import json
from dataclasses import replace

import numpy as np
import pytest

from fashioncnn.data.dataset import Dataset
from fashioncnn.errors import InterruptedRun


@pytest.fixture(scope="session")
def mini(small) -> Dataset:
    """Return sketches with 100 training images and 40 test images."""
    train, test = small.train.subset(np.arange(100)), small.test.subset(np.arange(40))
    return replace(small, train=train, test=test)


@pytest.fixture
def stop_after():
    """Return a function that creates a request to stop after a number of steps."""

    def make(steps):
        remaining = iter([None] * (steps - 1))
        return lambda: next(remaining, InterruptedRun("stopped"))

    return make


@pytest.fixture
def files_of():
    """Return a function that returns the files of a run without times and memory, by name."""

    def read(run):
        history = run.read_history()
        metrics = json.loads(run.metrics.read_bytes())
        for record in (*history, metrics["summary"]):
            for key in ("seconds", "images_per_second", "teacher_seconds", "peak_memory_bytes"):
                record.pop(key, None)
        files = (run.config, run.environment, run.predictions, *run.model.iterdir())
        contents = {path.name: path.read_bytes() for path in files}
        return {**contents, "history": history, "metrics": metrics}

    return read
