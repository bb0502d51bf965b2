"""``--track`` of train and tune, with real trackers."""

import os
import signal
from pathlib import Path

import pytest

from fashioncnn.tracking.options import TrackerOption

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


def test_trials_of_a_search_are_tracked(cli, calls, idx_folder):
    pytest.importorskip("optuna", reason="needs the extra [tune]")
    Path("space.toml").write_text("[model]\ndropout = { low = 0.0, high = 0.7 }")
    options = ["--trials=2", "--finalists=0", "--epochs=2", "--space=space.toml"]
    fixed = ["--set", "model.channels=[4, 8]", "--set", "model.hidden=16", "--set", "threads=1"]
    cli.ok("tune", "--data", idx_folder, *options, *fixed, "--device=cpu", "--track", "mlflow")
    assert names(calls) == ["start", "log_trial", "log_trial", "finish", "close"]
    trials = [arguments[0] for name, *arguments in calls if name == "log_trial"]
    assert [(t.number, t.state, len(t.curve)) for t in trials] == [
        (0, "complete", 2),
        (1, "complete", 2),
    ]
    assert trials[0].parameters.keys() == {"model.dropout"}
    assert {path.name for path in calls[3][2].files} == {"report.html", "best.toml"}


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
    from fashioncnn.tracking.track import Track

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
