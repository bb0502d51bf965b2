"""Fixtures for the benchmark scripts, which are imported by file name."""

import contextlib
import gzip
import io
import sys
from pathlib import Path

import pytest

from fashioncnn.cli import main

from ..idx import write_idx

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "peers")]

import common  # noqa: E402

TINY_NETWORK = {"FASHIONCNN_MODEL__CHANNELS": "[4, 8]", "FASHIONCNN_MODEL__HIDDEN": "16"}


@pytest.fixture(autouse=True)
def _no_official_data_and_no_compiler(monkeypatch, tmp_path):
    monkeypatch.setattr(common, "SHARED_DATA", tmp_path / "missing")
    monkeypatch.setenv("FASHIONCNN_KERNELS", "torch")


@pytest.fixture
def tiny_training(monkeypatch, idx_folder):
    """Recipes of FashionCNN train a tiny network on 300 drawings, for one epoch."""
    for name, value in TINY_NETWORK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FASHIONCNN_EPOCHS", "1")
    monkeypatch.setenv("FASHIONCNN_DATA", str(idx_folder))


@pytest.fixture
def gzipped_data(tmp_path, small, monkeypatch):
    """FASHIONCNN_DATA is a folder of 300 + 100 drawings with the official file names."""
    folder = tmp_path / "gzipped"
    folder.mkdir()
    for prefix, split in (("train", small.train), ("t10k", small.test)):
        for name, values in (("images-idx3", split.images), ("labels-idx1", split.labels)):
            path = folder / f"{prefix}-{name}-ubyte"
            write_idx(path, values)
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    monkeypatch.setenv("FASHIONCNN_DATA", str(folder))
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    """Return a function that runs a script's main with arguments and returns its stdout."""

    def call(module, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, arguments)])
        capsys.readouterr()
        module.main()
        return capsys.readouterr().out

    return call


def run_in_process(*arguments):
    """Run ``fashioncnn`` in this process and return its stdout."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = main(list(arguments))
    assert status == 0, arguments
    return output.getvalue()


@pytest.fixture
def cli():
    return run_in_process
