"""The benchmarks are scripts, found by their folders."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS / "peers")
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.fixture
def small_folder(tmp_path, small):
    """The small slice as gzipped files with the official names."""
    import gzip

    from ..idx import write_idx

    folder = tmp_path / "data"
    folder.mkdir()
    for part, split in (("train", small.train), ("t10k", small.test)):
        for name, values in (
            (f"{part}-images-idx3-ubyte", split.images),
            (f"{part}-labels-idx1-ubyte", split.labels),
        ):
            path = folder / name
            write_idx(path, values)
            path.with_name(f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    return folder
