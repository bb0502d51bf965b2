"""Files that block, never end, or are far too large, in place of every file that is parsed."""

import os
import signal
import socket
import time
import tracemalloc
from pathlib import Path

import pytest
import torch
from PIL import Image

from fashioncnn.config import read_settings, resolve
from fashioncnn.data.load import load_dataset
from fashioncnn.errors import FashionCNNError
from fashioncnn.evaluation.predictions import load_predictions
from fashioncnn.images.decoding import read_image
from fashioncnn.models.trained_model import load_model, save_model
from fashioncnn.reading import (
    MAX_KEY_PARTS,
    open_regular,
    parse_json,
    parse_toml,
    read_bytes,
    read_text,
)
from fashioncnn.runs import RunFolder
from fashioncnn.training.checkpoint import load_checkpoint, save_checkpoint
from fashioncnn.tuning.parsing import read_space

GIGABYTES = 20 << 30
SECONDS = 20
"""Limit per file, for a loaded machine; without limits on reads the tests would take minutes."""


@pytest.fixture(autouse=True)
def _alarm():
    """Fail a test that blocks."""

    def fail(*_):
        raise TimeoutError(f"blocked for {SECONDS} s")

    previous = signal.signal(signal.SIGALRM, fail)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def make_fifo(path):
    os.mkfifo(path)


def make_device(path):
    path.symlink_to("/dev/zero")


def make_socket(path):
    folder = os.open(path.parent, os.O_RDONLY)  # a socket's path is limited to 100 characters
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


def make_sparse(path):
    with path.open("wb") as file:
        file.truncate(GIGABYTES)


def make_large_text(path):
    with path.open("wb") as file:
        file.write(b"{" * 1000)
        file.truncate(1 << 30)


def make_folder(path):
    path.mkdir()


STRANGE = {
    "FIFO": make_fifo,
    "device": make_device,
    "socket": make_socket,
    "20 GB": make_sparse,
    "1 GB of text": make_large_text,
    "folder": make_folder,
}


def load_history(path):
    return RunFolder(path).read_history()


def load_metrics(path):
    return RunFolder(path).is_complete() or fail_silently()


def load_environment(path):
    return RunFolder(path).read_environment() or fail_silently()


def load_stored_predictions(path):
    return load_predictions(path / "predictions.npz")[0] or fail_silently()


def fail_silently():
    raise FashionCNNError("treated as missing")


PARSED = {
    "model/config.json": lambda path: load_model(path / "model"),
    "model/model.safetensors": lambda path: load_model(path / "model"),
    "config.toml": lambda path: read_settings(path / "config.toml"),
    "recipe.toml": lambda path: resolve(str(path / "recipe.toml"), environment={}),
    "space.toml": lambda path: read_space(str(path / "space.toml")),
    "history.jsonl": load_history,
    "metrics.json": load_metrics,
    "environment.json": load_environment,
    "predictions.npz": load_stored_predictions,
    "data/classes.txt": lambda path: load_dataset(str(path / "data")),
    "data/train-images-idx3-ubyte": lambda path: load_dataset(str(path / "data")),
    "data/train-labels-idx1-ubyte": lambda path: load_dataset(str(path / "data")),
    "photo.jpg": lambda path: read_image(path / "photo.jpg"),
}


@pytest.fixture
def run(tmp_path, tiny_result, idx_folder):
    """A folder with a model and data; the other files do not exist."""
    save_model(tiny_result.model, tmp_path / "run" / "model", "")
    idx_folder.rename(tmp_path / "run" / "data")
    return tmp_path / "run"


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("name", PARSED)
def test_strange_file_is_one_error_in_little_time_and_memory(run, name, strange):
    (run / name).unlink(missing_ok=True)
    try:
        STRANGE[strange](run / name)
    except OSError as error:
        pytest.skip(f"cannot be made here: {error}")
    tracemalloc.start()
    try:
        with pytest.raises(FashionCNNError) as caught:
            PARSED[name](run)
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


def test_large_journal_is_rejected(tmp_path):
    pytest.importorskip("optuna", reason="needs the extra [tune]")
    from fashioncnn.tuning.journal import repair_journal

    make_sparse(tmp_path / "journal.log")
    with pytest.raises(FashionCNNError, match="larger than the limit of 256 MiB"):
        repair_journal(tmp_path / "journal.log")


def test_symbolic_link_to_a_regular_file_is_followed(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link", 7) == b"content"


def test_file_of_unknown_size_is_read_up_to_the_limit():
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc")
    assert b"VmPeak" in read_bytes(status, 1 << 20)
    with pytest.raises(OSError, match="larger than the limit of 100 bytes"):
        read_bytes(status, 100)


def test_file_that_becomes_a_fifo_after_the_check_does_not_block(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.touch()
    regular = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(type(path), "stat", lambda self: regular)
    with pytest.raises(OSError, match="a FIFO, which is never read"):
        open_regular(path)


def test_text_has_newlines_as_line_ends(tmp_path):
    (tmp_path / "file").write_bytes(b"a\r\nb\rc\n")
    assert read_text(tmp_path / "file", 100) == "a\nb\nc\n"


@pytest.mark.parametrize("text", [b"NaN", b"[1, -Infinity]", b"[" * 100_000, b"1" * 5000, b"\xff"])
def test_json_that_only_python_accepts_or_that_is_nested_is_rejected(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


@pytest.mark.parametrize("key", ["a", '"a b"', "'a.b'"])
@pytest.mark.parametrize("line", ["{} = 1", "[{}]", "x = {{ {} = 1 }}"])
def test_toml_key_of_many_parts_is_rejected_in_little_time(key, line):
    long_key = " . ".join([key] * 100_000)
    start = time.process_time()
    with pytest.raises(ValueError, match=f"a dotted key of more than {MAX_KEY_PARTS} parts"):
        parse_toml(line.format(long_key))
    assert time.process_time() - start < SECONDS / 2


def test_toml_values_with_dots_are_no_keys():
    values = {"path": "../" * 200, "host": "a.b" * 20}
    text = "\n".join(f"{key} = '{value}'" for key, value in values.items())
    assert parse_toml(text) == values


def test_images_are_read_through_links_only_if_regular(tmp_path):
    Image.new("L", (3, 3)).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("a.png")
    assert read_image(tmp_path / "b.png").size == (3, 3)


@pytest.mark.parametrize("strange", ["FIFO", "20 GB"])
@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_strange_checkpoint_is_damaged(tmp_path, strange, suffix):
    save_checkpoint(tmp_path, 1, {"weight": torch.zeros(3)}, {"epoch": 1})
    save_checkpoint(tmp_path, 2, {"weight": torch.zeros(3)}, {"epoch": 2})
    path = tmp_path / f"step-00000002{suffix}"
    path.unlink()
    STRANGE[strange](path)
    assert load_checkpoint(tmp_path)[1] == {"epoch": 1}
