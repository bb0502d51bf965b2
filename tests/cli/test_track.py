"""``--track`` of train and tune, with real trackers."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from fashioncnn.tracking.options import TrackerOption
from fashioncnn.tracking.track import Track

from .conftest import QUICK

pytestmark = pytest.mark.filterwarnings("ignore")  # of these libraries
SMALL = [*QUICK, "--set", "data.validation=50"]


class FakeTracker:
    """Records the calls of all processes of a run."""

    calls: list

    def __init__(self, calls, epochs_until_signal=None):
        self.calls, self.remaining = calls, epochs_until_signal

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))

    def log_epoch(self, epoch, metrics):
        self.calls.append(("log_epoch", epoch, metrics))


@pytest.fixture
def calls(monkeypatch):
    calls = []
    monkeypatch.setattr("fashioncnn.environment.is_installed", lambda module: True)
    monkeypatch.setattr(
        "fashioncnn.tracking.track.make_tracker", lambda option, folder: FakeTracker(calls)
    )
    return calls


def names(calls):
    return [name for name, *_ in calls]


def test_training_is_tracked_with_settings_curves_and_files(cli, calls, idx_folder, with_report):
    cli.ok("train", "--data", idx_folder, *SMALL, "--track", "mlflow")
    assert names(calls) == ["start", "log_epoch", "log_epoch", "finish", "close"]
    run = calls[0][1]
    assert run.name == "train-1"
    assert run.parameters["training.epochs"] == 2
    metrics, artifacts = calls[3][1:]
    assert metrics["final/validation_accuracy"] > 0
    assert [path.exists() for path in artifacts.files] == [True]
    assert artifacts.model == Path("runs/train-1/model")
    assert artifacts.images["confusion_matrix"].exists()


def test_runs_of_a_group_are_tracked_one_by_one(cli, calls, idx_folder):
    cli.ok("train", "--data", idx_folder, *SMALL, "--seeds=0-1", "--track", "tensorboard:logs")
    started = [arguments[0].name for name, *arguments in calls if name == "start"]
    assert started == ["train-1/seed-0", "train-1/seed-1"]


def test_trials_and_finalists_of_a_search_are_tracked(cli, calls, idx_folder):
    pytest.importorskip("optuna", reason="needs the extra [tune]")
    Path("space.toml").write_text("[model]\ndropout = { low = 0.0, high = 0.7 }")
    options = ["--trials=2", "--finalists=1", "--finalist-seeds=2", "--epochs=2"]
    fixed = ["--set", "model.channels=[4, 8]", "--set", "model.hidden=16", "--set", "threads=1"]
    command = ["tune", "--data", idx_folder, *options, *fixed, "--space=space.toml", "--device=cpu"]
    cli.ok(*command, "--track", "mlflow")
    assert names(calls) == ["start", *["log_trial"] * 4, "finish", "close"]
    trials = [arguments[0] for name, *arguments in calls if name == "log_trial"]
    best = min(trials[:2], key=lambda trial: trial.metrics["final/loss"]).number
    assert [(t.name, t.state, len(t.curve)) for t in trials] == [
        ("trial 0", "complete", 2),
        ("trial 1", "complete", 2),
        (f"trial {best} with seed 1", "complete", 2),
        (f"trial {best} with seed 2", "complete", 2),
    ]
    assert trials[0].parameters.keys() == {"model.dropout"}
    assert trials[2].parameters == {**trials[best].parameters, "training.seed": 1}
    assert trials[2].metrics["final/loss"] != trials[3].metrics["final/loss"]
    files, calls[:] = calls[-2][2].files, []
    assert {path.name for path in files} == {"report.html", "best.toml"}
    cli.ok(*command, "--track", "mlflow")  # which tracks what was not tracked before
    assert [arguments[0] for name, *arguments in calls if name == "log_trial"] == trials


@pytest.fixture
def interrupted(cli, calls, idx_folder, monkeypatch):
    """Return a function that interrupts a training after its first epoch, and returns its note."""

    def train(*options):
        on_epoch = Track.on_epoch

        def interrupt(self, state, record):
            on_epoch(self, state, record)
            os.kill(os.getpid(), signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(Track, "on_epoch", interrupt)
            error = cli.fails(130, "train", "--data", idx_folder, *SMALL, *options)
        calls.clear()
        return error

    return train


def test_resumed_run_is_tracked_beside_it_as_before(cli, calls, interrupted):
    hint = interrupted("--track", "mlflow", "--track", "tensorboard")
    assert hint.endswith("train --resume runs/train-1")
    cli.ok("train", "--resume", "runs/train-1")
    assert sorted(names(calls)) == sorted(["start", "log_epoch", "finish", "close"] * 2)
    runs = [arguments[0] for name, *arguments in calls if name == "start"]
    assert [len(run.history) for run in runs] == [1, 1]


def test_resumed_group_is_tracked_as_before_from_its_first_seed(cli, calls, interrupted):
    interrupted("--track", "mlflow", "--seeds=0-1")
    cli.ok("train", "--resume", "runs/train-1")
    started = [arguments[0].name for name, *arguments in calls if name == "start"]
    assert started == ["train-1/seed-0", "train-1/seed-1"]


def test_no_file_of_a_run_decides_where_data_is_sent(cli, calls, interrupted):
    """A run may come from others; the server has to be named again, with its password."""
    place = ["--track", "tensorboard", "--track", "mlflow:https://ann:secret@host"]
    hint = interrupted(*place)
    assert hint.endswith("--resume runs/train-1 --track tensorboard --track mlflow:https://host")
    shutil.copytree("runs", "copy")
    code, _, err = cli("train", "--resume", "runs/train-1")
    assert code == 0
    assert err.count("to continue where it was, give --track mlflow:https://host") == 1
    assert names(calls) == ["start", "log_epoch", "finish", "close"]  # of TensorBoard
    calls.clear()
    cli.ok("train", "--resume", "copy/train-1", "--track", "mlflow:https://ann:secret@host")
    assert names(calls) == ["start", "log_epoch", "finish", "close"]
    assert not any(b"secret" in p.read_bytes() for p in Path("runs").rglob("*") if p.is_file())


def test_resumed_run_goes_on_where_the_tracker_is_not_installed(
    cli, calls, interrupted, monkeypatch
):
    interrupted("--track", "mlflow")
    monkeypatch.setattr("fashioncnn.environment.is_installed", lambda module: module != "mlflow")
    code, _, err = cli("train", "--resume", "runs/train-1")
    assert code == 0
    assert "runs/train-1: not tracked any more (mlflow is not installed" in err
    assert calls == []


def test_run_whose_report_is_missing_is_tracked_to_its_end(cli, calls, idx_folder, with_report):
    cli.ok("train", "--data", idx_folder, *SMALL, "--track", "mlflow")
    Path("runs/train-1/report.html").unlink()
    before = calls[3][1:]
    calls.clear()
    cli.ok("train", "--resume", "runs/train-1")
    assert names(calls) == ["start", "finish", "close"]
    assert len(calls[0][1].history) == 2
    assert calls[1][1:] == before


@pytest.mark.parametrize("command", ["train", "tune"])
def test_invalid_tracker_is_a_usage_error_before_anything_is_written(cli, command):
    error = cli.fails(2, command, "--data", "sketches", "--track", "wandb")
    assert "--track wandb: should be tensorboard[:DIR] or mlflow[:URI]" in error
    assert not Path("runs").exists()


def test_missing_package_is_reported_before_the_training(cli, monkeypatch):
    monkeypatch.setattr("fashioncnn.environment.is_installed", lambda module: module != "mlflow")
    error = cli.fails(1, "train", "--data", "sketches", "--track", "mlflow")
    assert "mlflow is not installed" in error
    assert "pip install '.[track]'" in error
    assert not Path("runs").exists()


@pytest.mark.slow
def test_interrupted_training_continues_the_same_runs(cli, idx_folder, monkeypatch):
    pytest.importorskip("mlflow", reason="needs the extra [track]")
    pytest.importorskip("tensorboard", reason="needs the extra [track]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from fashioncnn.tracking.mlflow import MLflowTracker

    track = ["--track", "mlflow", "--track", "tensorboard"]

    def interrupt(self, state, record):
        log_epoch(self, state, record)
        if record["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    log_epoch = Track.on_epoch
    monkeypatch.setattr("fashioncnn.tracking.track.INTERRUPTED_SECONDS", 120)
    with monkeypatch.context() as patch:
        patch.setattr(Track, "on_epoch", interrupt)
        code, _, err = cli("train", "--data", idx_folder, *SMALL, *track)
    assert code == 130, err
    cli.ok("train", "--resume", "runs/train-1", *track)
    read = EventAccumulator("runs/train-1/tensorboard")
    read.Reload()
    assert [event.step for event in read.Scalars("loss/val")] == [1, 2]
    tracker = MLflowTracker(f"sqlite:///{Path('runs/mlflow.db').resolve()}", None)
    client = tracker._connect()
    experiment = client.get_experiment_by_name("fashioncnn").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    steps = [m.step for m in client.get_metric_history(run.info.run_id, "loss/val")]
    assert steps == [1, 2]
    assert {f.path for f in client.list_artifacts(run.info.run_id)} >= {"report.html", "model"}


@pytest.mark.slow
def test_server_that_is_down_ends_no_training(cli, idx_folder, monkeypatch):
    pytest.importorskip("mlflow", reason="needs the extra [track]")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code, _, err = cli(
        "train", "--data", idx_folder, *SMALL, "--track", "mlflow:http://127.0.0.1:1"
    )
    assert code == 0
    assert err.count("--track mlflow:http://127.0.0.1:1: stopped, and the work goes on") == 1
    assert "Traceback" not in err


def test_option_is_shown_without_password():
    assert str(TrackerOption("mlflow", "http://a:b@c")) == "mlflow:http://c"
