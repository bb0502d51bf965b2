"""Fixtures: subsets of the sketches, a tiny trained model, an environment without user settings."""

import contextlib
import copy
import json
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fashioncnn.artifacts.model_card import minimal_card
from fashioncnn.artifacts.model_folder import write_model_folder
from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.artifacts.spec import ModelSpec
from fashioncnn.config import resolve
from fashioncnn.data.dataset import Dataset
from fashioncnn.data.sketches import draw_sketches
from fashioncnn.models import build_model
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.settings import FashionCNNConfig, ResidualCNNConfig
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import TrainingResult, train_model

from .idx import write_idx
from .sharing import make_once, shared_folder

torch.set_num_threads(1)  # tests run in several processes

REAL_DATA = os.environ.get("FASHIONCNN_DATA")
TINY = ["model.channels=[4, 8]", "model.hidden=16"]
"""A network that trains on `small` in a fraction of a second."""


@pytest.fixture(scope="session")
def compiled(pytestconfig, tmp_path_factory) -> Path:
    """Return the cache of compiled kernels, shared by all tests and pytest-xdist workers.

    It is part of pytest's cache, and so shared by sessions, unless that is off or not writable.
    """
    folder = shared_folder(tmp_path_factory) / "kernels"
    cache = getattr(pytestconfig, "cache", None)
    if cache is not None:
        with contextlib.suppress(OSError):
            folder = cache.mkdir("kernels")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _no_fsync():
    """Do not wait for the disk: what a power failure leaves behind cannot be tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def _clean_environment(tmp_path_factory, monkeypatch, compiled):
    """Run each test in its own working folder and cache, without settings of the developer."""
    for name in list(os.environ):
        if name.startswith("FASHIONCNN_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    folder = Path(tempfile.mkdtemp(dir=tmp_path_factory.getbasetemp()))
    monkeypatch.setenv("FASHIONCNN_HOME", str(folder / "cache"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    (folder / "cache").mkdir()
    (folder / "cache" / "kernels").symlink_to(compiled)
    (folder / "work").mkdir()
    monkeypatch.chdir(folder / "work")
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sketches() -> Dataset:
    """Return the built-in dataset: 3,000 training images, 1,000 test images."""
    return draw_sketches()


@pytest.fixture(scope="session")
def small(sketches) -> Dataset:
    """Return sketches with 300 training images and 100 test images."""
    train, test = sketches.train.subset(np.arange(300)), sketches.test.subset(np.arange(100))
    return replace(sketches, train=train, test=test)


@pytest.fixture
def idx_folder(tmp_path, small) -> Path:
    """Return a folder of IDX files with the images of `small`."""
    folder = tmp_path / "own"
    folder.mkdir()
    for prefix, split in (("train", small.train), ("t10k", small.test)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", split.images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", split.labels)
    return folder


@pytest.fixture(scope="session")
def tiny_settings(small):
    """Return a function that creates resolved settings for quick trainings, on `small`."""

    def make(*assignments: str, recipe: str = "baseline", dataset: Dataset = small, **flags):
        flags = {"epochs": 2, "batch_size": 32, "device": "cpu", "kernels": "torch", **flags}
        # Settings of TINY belong to the network of `baseline`.
        tiny = [] if any(a.startswith("model.name=") for a in assignments) else TINY
        assignments = [*tiny, *assignments]
        settings = resolve(recipe, flags=flags, assignments=assignments, environment={})
        return prepare_settings(settings, dataset)

    return make


@pytest.fixture(scope="session")
def quick_parameters():
    """Return parameters of a `Classifier` that trains on 100 images in a fraction of a second."""
    return {
        "model__channels": (4, 8),
        "model__hidden": 16,
        "epochs": 1,
        "batch_size": 32,
        "device": "cpu",
        "kernels": "torch",
    }


@pytest.fixture
def quick(quick_parameters):
    """Return a copy of `quick_parameters`, which a test may change."""
    return dict(quick_parameters)


@pytest.fixture(scope="session")
def _trained_once(small, tiny_settings) -> TrainingResult:
    return train_model(tiny_settings(), small)


@pytest.fixture
def tiny_result(_trained_once) -> TrainingResult:
    """Return a copy of a result of two epochs on `small`, which a test may change."""
    return copy.deepcopy(_trained_once)


ARCHITECTURES = {
    "mean_head": ResidualCNNConfig(
        name="residual_cnn", channels=(4, 8), blocks=(1, 1), flip_equivariant=True
    ),
    "hidden_head": FashionCNNConfig(channels=(4,), hidden=8),
}
"""Networks with and without a closed form of class activation maps."""


@pytest.fixture(scope="session")
def onnx_folders(tmp_path_factory, small) -> dict[str, Path]:
    """Return folders of untrained models, by the name in `ARCHITECTURES`; not to be changed.

    They have both weights and an ONNX file.
    """
    from fashioncnn.models.export import export_model

    def make(folder: Path) -> None:
        for name, architecture in ARCHITECTURES.items():
            model = untrained_model(architecture, small.class_names)
            weights = model.weights()
            description = model.describe(weights)
            exported = export_model(model, description, small.test.images[:20], "test")
            card = minimal_card(description)
            write_model_folder(folder / name, weights, description, card, exported.content)

    folder = make_once(tmp_path_factory, "onnx", make)
    return {name: folder / name for name in ARCHITECTURES}


@pytest.fixture
def onnx_folder(onnx_folders) -> Path:
    """Return a copy of the model with closed-form activation maps, which a test may change."""
    return Path(shutil.copytree(onnx_folders["mean_head"], "model"))


def untrained_model(architecture, labels) -> TrainedModel:
    """Return a model with random weights and statistics of its normalizations."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_model(architecture, 28, len(labels)).eval()
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                for values in (layer.weight.data, layer.running_var):
                    values.uniform_(0.5, 1.5)
                for values in (layer.bias.data, layer.running_mean):
                    values.uniform_(-0.5, 0.5)
    preprocessing = Preprocessing(28, 0.3, 0.35, "fashion")
    return TrainedModel(
        network,
        ModelSpec(
            architecture=architecture,
            labels=labels,
            preprocessing=preprocessing,
            dataset="fashion-mnist",
            temperature=0.7,
            tta="flip",
        ),
    )


@pytest.fixture(scope="session")
def files_of():
    """Return a function that returns the files of a run by name, without times, memory, commit."""

    def read(run):
        history = run.read_history()
        metrics = json.loads(run.metrics.read_bytes())
        for record in (*history, metrics["summary"]):
            for key in ("seconds", "images_per_second", "teacher_seconds", "peak_memory_bytes"):
                record.pop(key, None)
        environment = json.loads(run.environment.read_bytes())
        del environment["git_commit"]  # someone may commit while the tests run
        del environment["checksum"], metrics["checksum"], metrics["sha256"]
        files = (run.config, run.predictions, *run.model.iterdir())
        contents = {path.name: path.read_bytes() for path in files}
        return {**contents, "environment": environment, "history": history, "metrics": metrics}

    return read


@pytest.fixture(scope="session")
def real_data() -> str:
    """Return the folder of the official files; skips if it is not available."""
    if not REAL_DATA or not Path(REAL_DATA).is_dir():
        pytest.skip("needs the official Fashion-MNIST files: set FASHIONCNN_DATA to their folder")
    return REAL_DATA


@pytest.fixture(scope="session")
def postgres():
    """Return a temporary PostgreSQL server; skips where it is not installed."""
    from .postgres import missing, running_server

    if missing():
        pytest.skip(missing())
    with running_server() as server:
        yield server


@pytest.fixture
def database(postgres, monkeypatch):
    """Return the address of a new database; its password is in ``PGPASSWORD``."""
    from .postgres import PASSWORD

    name = f"search_{time.monotonic_ns()}"
    postgres.execute(f"CREATE DATABASE {name}")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    return postgres.url(name)
