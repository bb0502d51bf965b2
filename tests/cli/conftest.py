import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn.cli import main
from fashioncnn.cli.signals import SIGNALS

from ..idx import write_idx
from ..sharing import make_once

PLACE = ["--batch-size", "32", "--device", "cpu", "--threads", "1"]
NO_EPOCHS = [*PLACE, "--set", "model.channels=[4, 8]", "--set", "model.hidden=16"]
QUICK = [*NO_EPOCHS, "--epochs", "2"]


def command_id(value):
    """Name a parametrized test after its arguments of the command line only."""
    return " ".join(value) if isinstance(value, list) else ""


def stored_labels(run, indices):
    """Return the predicted labels that training stored for images of the test split."""
    with np.load(Path(run, "predictions.npz")) as stored:
        return stored["test_logits"][indices].argmax(axis=1).tolist()


def top_labels(document):
    return [p["top"][0]["code"] for p in document["predictions"]]


class CommandLine:
    """Runs a command in this process and returns its exit code, stdout and stderr."""

    def __init__(self, capsys):
        self.capsys = capsys

    def __call__(self, *arguments):
        self.capsys.readouterr()
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as stop:
            code = stop.code
        out, err = self.capsys.readouterr()
        return code, out, err

    def ok(self, *arguments):
        code, out, err = self(*arguments)
        assert code == 0, err
        return out

    def json(self, *arguments):
        return json.loads(self.ok(*arguments, "--json"))

    def fails(self, expected_code, *arguments):
        """Return the error message of a failing command, which prints no result."""
        code, out, err = self(*arguments)
        assert code == expected_code, err
        last = err.strip().splitlines()[-1]
        assert last.startswith("fashioncnn: ")
        assert "Traceback" not in err
        assert out == ""
        return last


@pytest.fixture
def cli(capsys):
    return CommandLine(capsys)


@pytest.fixture(autouse=True)
def _fast(request, monkeypatch):
    """Compile no kernels, and draw no report after a training, which takes longer than training.

    Tests that need the report request the fixture `with_report`.
    """
    monkeypatch.setenv("FASHIONCNN_KERNELS", "torch")
    if "with_report" not in request.fixturenames:
        monkeypatch.setattr("fashioncnn.cli.train_run.write_run_report", write_stub)


def write_stub(run, splits):
    page = run.path / "report.html"
    page.write_text("not drawn in this test")
    return page


@pytest.fixture
def with_report():
    """Mark a test that needs the report of a training."""


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, small) -> Path:
    """A finished run with its report, trained once; not to be changed."""

    def make(folder: Path) -> None:
        data = folder / "own"
        data.mkdir()
        for prefix, split in (("train", small.train), ("t10k", small.test)):
            write_idx(data / f"{prefix}-images-idx3-ubyte", split.images)
            write_idx(data / f"{prefix}-labels-idx1-ubyte", split.labels)
        with pytest.MonkeyPatch.context() as patch:
            for name in list(os.environ):
                if name.startswith("FASHIONCNN_"):
                    patch.delenv(name)
            patch.setenv("FASHIONCNN_KERNELS", "torch")
            assert main(["train", *QUICK, "--data", str(data), "--out", str(folder / "run")]) == 0

    return make_once(tmp_path_factory, "finished", make) / "run"


@pytest.fixture
def trained(finished_run, idx_folder):
    """A copy of the finished run in the current folder, trained on `idx_folder`."""
    shutil.copytree(finished_run, "run")
    config = Path("run/config.toml")
    source = str(finished_run.with_name("own"))
    text = config.read_text()
    assert source in text
    config.write_text(text.replace(source, str(idx_folder)))
    return "run"


@pytest.fixture
def no_compiler(monkeypatch):
    """Make the native kernels unavailable."""
    for module in ("fashioncnn.devices", "fashioncnn.cli.train_run"):
        monkeypatch.setattr(f"{module}.unavailable_reason", lambda: "no C compiler")


@pytest.fixture
def images(small):
    """A folder with three images of the test split."""
    Path("images").mkdir()
    for i in range(3):
        Image.fromarray(small.test.images[i]).save(f"images/{i}.png")
    return "images"


@pytest.fixture
def handlers_are_restored():
    """Check that a test leaves the handlers of signals as they were, and restore them."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    after = [signal.getsignal(number) for number in SIGNALS]
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)
    assert after == before
