"""Fixtures: small slices of the built-in drawings, and the real data where it is to be had."""

import os
from pathlib import Path

import pytest
import torch

from fashioncnn.config import resolve
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.sketches import draw_sketches
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model

from .idx import write_idx

torch.set_num_threads(1)  # of the whole process; the tests run in several

REAL_DATA = os.environ.get("FASHIONCNN_DATA")
TINY = ["model.channels=[4, 8]", "model.hidden=16"]
"""A network that learns a slice in well under a second."""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory) -> Path:
    """The cache of compiled kernels, shared by all tests and by the workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "kernels"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def _clean_place(tmp_path_factory, monkeypatch, compiled):
    """Run every test in a folder of its own, with none of the developer's settings."""
    for name in list(os.environ):
        if name.startswith("FASHIONCNN_"):
            monkeypatch.delenv(name)
    place = tmp_path_factory.mktemp("place")
    monkeypatch.setenv("FASHIONCNN_HOME", str(place / "cache"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    (place / "cache").mkdir()
    (place / "cache" / "kernels").symlink_to(compiled)
    (place / "work").mkdir()
    monkeypatch.chdir(place / "work")
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sketches() -> Dataset:
    return draw_sketches()


def first(split: Split, n: int) -> Split:
    return Split(split.images[:n], split.labels[:n])


@pytest.fixture(scope="session")
def small(sketches) -> Dataset:
    """300 drawings to learn from and 100 to judge on."""
    return Dataset(
        "sketches",
        sketches.class_names,
        first(sketches.train, 300),
        first(sketches.test, 100),
        "fashion",
        "sketches",
    )


@pytest.fixture
def idx_folder(tmp_path, small) -> Path:
    """The small slice as a folder of IDX files: a person's own data set."""
    folder = tmp_path / "own"
    folder.mkdir()
    for part, split in (("train", small.train), ("t10k", small.test)):
        write_idx(folder / f"{part}-images-idx3-ubyte", split.images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", split.labels)
    return folder


@pytest.fixture
def tiny_settings(small):
    """Return a function that makes settings for quick trainings on the small slice."""

    def make(*assignments: str, recipe: str = "baseline", **flags):
        flags = {"epochs": 2, "batch_size": 32, "device": "cpu", **flags}
        # A network of another kind begins with nothing of TINY.
        tiny = [] if any(a.startswith("model.name=") for a in assignments) else TINY
        settings = resolve(recipe, flags=flags, assignments=[*tiny, *assignments])
        return prepare_settings(settings, small)

    return make


@pytest.fixture
def tiny_outcome(small, tiny_settings):
    return train_model(tiny_settings(), small)


@pytest.fixture
def real_data() -> str:
    """The folder of the official files; skips where there is none."""
    if not REAL_DATA or not Path(REAL_DATA).is_dir():
        pytest.skip("needs the official Fashion-MNIST files: set FASHIONCNN_DATA to their folder")
    return REAL_DATA
