"""How commands end: signals at every step, closed streams."""

import http.server
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from fashioncnn.bench import limit
from fashioncnn.cli.signals import SIGNALS
from fashioncnn.data.download import OFFICIAL_FILES, fetch_fashion_mnist

from .conftest import QUICK

pytestmark = pytest.mark.usefixtures("handlers_are_restored")
CODES = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}(\.tmp)?")
SHORT = ["--rounds", "1", "--seconds", "0.01", "--device", "cpu", "--threads", "1"]
TINY = ["--set", "model.channels=[4, 8]", "model.hidden=16"]
COMMANDS = {
    "evaluate": ["evaluate", "run"],
    "report": ["report", "run"],
    "compare": ["compare", "run", "other"],
    "predict": [
        *("predict", "images", "--model", "run", "--out", "p.csv"),
        *("--save-views", "views", "--explain", "maps"),
    ],
    "data": ["data", "--data", "sketches", "--sheet", "sheet.png"],
    "bench train": ["bench", "train", *SHORT, "--kernels", "torch", *TINY],
    "bench predict": ["bench", "predict", *SHORT],
    "train": ["train", "--data", "sketches", *QUICK, "--out", "new"],
    "tune": [
        "tune",
        "--data",
        "sketches",
        "--device",
        "cpu",
        *TINY,
        "--trials",
        "1",
        "--finalists",
        "0",
    ],
}
MOMENTS = {
    "evaluate": [
        "fashioncnn.models.trained_model.load_model",
        "fashioncnn.cli.datasets.load_dataset",
        "fashioncnn.inference.evaluate.evaluate_split",
        "os.fsync",
        "fashioncnn.cli.evaluate.print_tables",
    ],
    "report": [
        "fashioncnn.runs.open_run",
        "fashioncnn.reporting.report.read_run",
        "fashioncnn.reporting.report.write_curves",
        "os.fsync",
        "os.replace",
    ],
    "compare": [
        "fashioncnn.reporting.run_comparison.open_run",
        "fashioncnn.reporting.run_comparison.load_predictions",
        "fashioncnn.reporting.run_comparison.read_class_names",
        "fashioncnn.reporting.run_comparison.compare_groups",
        "fashioncnn.cli.compare.print_tables",
    ],
    "predict": [
        "fashioncnn.models.trained_model.load_model",
        "fashioncnn.inference.explain.side_by_side",
        "fashioncnn.inference.explain.draw_explanation",
        "fashioncnn.cli.predict_output.FORMATS.csv",
        "os.fsync",
        "os.replace",
    ],
    "data": [
        "fashioncnn.cli.datasets.load_dataset",
        "fashioncnn.data.contact_sheet.draw_contact_sheet",
        "PIL.Image.Image.save",
        "os.fsync",
        "fashioncnn.cli.data.print_tables",
    ],
    "bench train": [
        "fashioncnn.training.prepare.prepare_settings",
        "fashioncnn.bench.limit.Limit.measure",
        "fashioncnn.reporting.bench.training_table",
    ],
    "bench predict": [
        "fashioncnn.bench.prediction.untrained_model",
        "fashioncnn.bench.prediction._write_pngs",
        "fashioncnn.bench.limit.Limit.measure",
    ],
    "train": [
        "fashioncnn.cli.datasets.load_dataset",
        "fashioncnn.training.prepare.prepare_settings",
        "fashioncnn.runs.new_run",
    ],
    "tune": ["fashioncnn.cli.datasets.load_dataset", "fashioncnn.tuning.plan.plan_search"],
}


@pytest.fixture
def work(trained, small, monkeypatch):
    """A folder with a run, another run with other weights, and images."""
    write_other_run()
    Path("images").mkdir()
    for i in range(2):
        Image.fromarray(small.test.images[i]).save(f"images/{i}.png")
    for name in ("p.csv", "sheet.png"):
        Path(name).write_text("before")
    Path("run/predictions.npz").touch()
    Path("temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(Path("temporary").resolve()))
    monkeypatch.setitem(limit.LIMIT_SIDES, "cpu", (64,))


def write_other_run():
    """Copy the run, with the identity of another model."""
    from fashioncnn.evaluation.predictions import load_predictions, save_predictions
    from fashioncnn.runs import RunFolder

    shutil.copytree("run", "other")
    other = RunFolder(Path("other"))
    predictions, identity = load_predictions(other.predictions)
    save_predictions(other.predictions, predictions, {**identity, "model_sha256": "0" * 64})


def receive_at(monkeypatch, target, number):
    """Deliver a signal at the first call of a function."""
    owner, _, name = target.rpartition(".")
    is_item = owner.endswith(".FORMATS")
    if is_item:
        from fashioncnn.reporting.predictions import FORMATS

        original = FORMATS[name]
    else:
        original = resolve(target)
    calls = []

    def receive_first(*arguments, **keywords):
        if not calls:
            calls.append(target)
            signal.raise_signal(number)
        return original(*arguments, **keywords)

    if is_item:
        monkeypatch.setitem(FORMATS, name, receive_first)
    else:
        monkeypatch.setattr(target, receive_first)
    return calls


def resolve(target):
    from pkgutil import resolve_name

    return resolve_name(target)


def assert_complete(folder):
    """No temporary file remains, and every image is whole."""
    for path in Path(folder).rglob("*"):
        assert not TEMPORARY.fullmatch(path.name), path
        if path.suffix == ".png" and path.read_bytes() != b"before":
            with Image.open(path) as image:
                image.load()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize(
    ("command", "moment"),
    [(command, moment) for command, moments in MOMENTS.items() for moment in moments],
    ids=str,
)
def test_signal_ends_the_command_with_one_line_and_no_partial_file(
    cli, work, monkeypatch, command, moment, number
):
    if command == "tune":
        pytest.importorskip("optuna", reason="needs the extra [tune]")
    if (command, moment) == ("evaluate", "os.fsync"):
        Path("run/predictions.npz").unlink()
    calls = receive_at(monkeypatch, moment, number)
    code, out, err = cli(*COMMANDS[command])
    expected_code, message = CODES[number]
    assert calls, "the signal was not delivered"
    assert code == expected_code, err
    assert [line for line in err.splitlines() if "fashioncnn:" in line] == [
        f"fashioncnn: {message}"
    ]
    assert "Traceback" not in err + out
    assert_complete(".")
    assert list(Path("temporary").iterdir()) == []
    assert Path("p.csv").read_text() == "before"


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_signal_during_an_epoch_saves_a_checkpoint(cli, work, monkeypatch, number):
    calls = receive_at(monkeypatch, "fashioncnn.cli.progress.EpochLines.on_epoch", number)
    code, _, err = cli(*COMMANDS["train"])
    assert calls
    assert code == CODES[number][0]
    line = err.splitlines()[-1]
    assert line.startswith(f"fashioncnn: {CODES[number][1]}, checkpoint saved; resume with: ")
    assert_complete("new")
    cli.ok("train", "--resume", "new")


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_signal_during_a_download_leaves_no_file(cli, monkeypatch, number):
    class HalfAFile(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            size = next(f.size for f in OFFICIAL_FILES if f"{f.name}.gz" in self.path)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(b"x" * 1000)
            self.wfile.flush()
            os.kill(os.getpid(), number)
            released.wait(10)

        def log_message(self, *_):
            pass

    released = threading.Event()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), HalfAFile) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mirror = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setitem(fetch_fashion_mnist.__kwdefaults__, "mirrors", (mirror,))
        code, _, err = cli("data")
        released.set()
        server.shutdown()
    assert code == CODES[number][0]
    assert err.splitlines()[-1] == f"fashioncnn: {CODES[number][1]}"
    cache = Path(os.environ["FASHIONCNN_HOME"])
    assert [p for p in cache.rglob("*") if p.is_file() and "kernels" not in p.parts] == []


@pytest.mark.parametrize("module", ["cyclopts", "rich.console", "numpy", "PIL"])
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_signal_during_an_import_is_one_line(module, number):
    script = (
        "import runpy, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            sys.meta_path.remove(self)\n"
        f"            exec('signal.raise_signal({int(number)})')\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "sys.argv = ['fashioncnn', 'data', 'sketches']\n"
        "runpy.run_module('fashioncnn', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == CODES[number][0]
    assert (done.stdout, done.stderr) == ("", f"fashioncnn: {CODES[number][1]}\n")


BLOCKED = """
import sys, time
from pkgutil import resolve_name

owner, _, name = sys.argv.pop(1).rpartition(".")

def block(*_, **__):
    print("ready", flush=True)
    time.sleep(60)

setattr(resolve_name(owner), name, block)
from fashioncnn.cli import main
sys.exit(main())
"""


def start_blocked(command, moment):
    """Start a command that waits in the function `moment`."""
    arguments = [sys.executable, "-c", BLOCKED, moment, *command]
    pipe = subprocess.PIPE
    process = subprocess.Popen(arguments, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_process_of_every_command_ends_with_one_line(work, command):
    if command == "tune":
        pytest.importorskip("optuna", reason="needs the extra [tune]")
    process = start_blocked(COMMANDS[command], MOMENTS[command][0])
    process.terminate()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (143, "")
    assert err.splitlines()[-1] == "fashioncnn: terminated"
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_works_without_standard_streams(work, command):
    if command == "tune":
        pytest.importorskip("optuna", reason="needs the extra [tune]")
    line = shlex.join([sys.executable, "-m", "fashioncnn", *COMMANDS[command]])
    done = subprocess.run(f"{line} <&- >&- 2>&-", shell=True, check=False)
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_second_signal_kills_the_process_at_once(work):
    process = start_blocked(COMMANDS["train"], "fashioncnn.cli.progress.EpochLines.on_epoch")
    assert handles(process.pid, signal.SIGTERM)
    process.terminate()
    deadline = time.monotonic() + 30
    while handles(process.pid, signal.SIGTERM):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM


def handles(pid, number):
    """Return whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = re.findall(r"SigCgt:\s*(\w+)", status)
    return bool(int(mask, 16) >> (number - 1) & 1)
