"""Real TensorBoard event files and a real MLflow SQLite file."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("mlflow", reason="needs the extra [track]")
pytest.importorskip("tensorboard", reason="needs the extra [track]")

from fashioncnn.tracking.mlflow import EXPERIMENT, MLflowTracker
from fashioncnn.tracking.options import TrackerOption
from fashioncnn.tracking.tensorboard import TensorBoardTracker
from fashioncnn.tracking.track import make_tracker
from fashioncnn.tracking.tracker import Artifacts, TrackedRun, TrackedTrial

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of these libraries
]
HISTORY = [{"loss/train": 1.0, "loss/val": 2.0}, {"loss/train": 0.5, "loss/val": 1.5}]
RUN = TrackedRun("train-1", {"training.epochs": 3, "model.channels": [4, 8], "long": "x" * 9999})
TRIAL = TrackedTrial(4, "pruned", {"model.hidden": 16}, [0.9, 0.8], {"final/loss": 0.8})
FINALIST = TrackedTrial(4, "complete", {"model.hidden": 16}, [0.7], {"final/loss": 0.7}, seed=7)


@pytest.fixture
def artifacts(tmp_path):
    from PIL import Image

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "report.html").write_text("report")
    Image.new("RGB", (8, 6), "red").save(tmp_path / "confusion_matrix.png")
    image = {"confusion_matrix": tmp_path / "confusion_matrix.png"}
    return Artifacts([tmp_path / "report.html"], image, tmp_path / "model")


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def points(folder, tag):
    return [(event.step, event.value) for event in events(folder).Scalars(tag)]


def test_tensorboard_has_curves_settings_metrics_and_image(tmp_path, artifacts):
    tracker = TensorBoardTracker(tmp_path / "logs", own=False)
    tracker.start(RUN)
    for epoch, metrics in enumerate(HISTORY, 1):
        tracker.log_epoch(epoch, metrics)
    tracker.finish({"final/test_accuracy": 0.75}, artifacts)
    tracker.close("FINISHED")
    folder = tmp_path / "logs" / "train-1"
    assert points(folder, "loss/val") == [(1, 2.0), (2, 1.5)]
    assert points(folder, "final/test_accuracy") == [(0, 0.75)]
    read = events(folder)
    assert read.Tags()["images"] == ["confusion_matrix"]
    image = read.Images("confusion_matrix")[0]
    assert (image.width, image.height) == (8, 6)
    assert "settings/text_summary" in read.Tags()["tensors"]
    text = read.Tensors("files/text_summary")[0].tensor_proto.string_val[0].decode()
    assert str(tmp_path / "report.html") in text


def test_resumed_tensorboard_run_has_each_point_once(tmp_path):
    identities = []
    first = TensorBoardTracker(tmp_path / "logs", own=False)
    first.start(replace(RUN, remember=identities.append))
    for epoch in (1, 2):  # the checkpoint after epoch 2 was not written any more
        first.log_epoch(epoch, HISTORY[epoch - 1])
    again = TensorBoardTracker(tmp_path / "logs", own=False)
    again.start(replace(RUN, identity=identities[0], history=HISTORY[:1]))
    again.log_epoch(2, HISTORY[1])
    again.close("FINISHED")
    assert list((tmp_path / "logs").iterdir()) == [tmp_path / "logs" / "train-1"]
    files = list((tmp_path / "logs" / "train-1").iterdir())
    assert len(files) == 1
    assert points(tmp_path / "logs" / "train-1", "loss/val") == [(1, 2.0), (2, 1.5)]


def test_tensorboard_run_leaves_another_one_of_the_same_name_alone(tmp_path):
    for _ in range(2):
        tracker = TensorBoardTracker(tmp_path, own=False)
        tracker.start(RUN)
        tracker.log_epoch(1, HISTORY[0])
        tracker.close("FINISHED")
    for name in ("train-1", "train-1-2"):
        assert points(tmp_path / name, "loss/val") == [(1, 2.0)]


def test_trial_in_tensorboard_is_a_run_within_the_search(tmp_path):
    tracker = TensorBoardTracker(tmp_path / "tensorboard", own=True)
    tracker.start(RUN)
    tracker.log_trial(TRIAL)
    tracker.log_trial(TRIAL)  # as a resumed search does
    tracker.close("FINISHED")
    folder = tmp_path / "tensorboard" / "trial-4"
    assert points(folder, "loss/val") == [(1, pytest.approx(0.9)), (2, pytest.approx(0.8))]


def test_finalist_in_tensorboard_is_a_run_beside_its_trial(tmp_path):
    tracker = TensorBoardTracker(tmp_path, own=True)
    tracker.start(RUN)
    tracker.log_trial(TRIAL)
    tracker.log_trial(FINALIST)
    tracker.close("FINISHED")
    assert points(tmp_path / "trial-4", "final/loss") == [(0, pytest.approx(0.8))]
    assert points(tmp_path / "trial-4-seed-7", "final/loss") == [(0, pytest.approx(0.7))]


@pytest.mark.parametrize("own", [True, False])
def test_tensorboard_writes_nowhere_but_to_its_folder(tmp_path, own):
    """The files of a run name another folder, since it was moved or comes from others."""
    other = TensorBoardTracker(tmp_path / "other", own=False)
    other.start(RUN)
    other.log_epoch(1, HISTORY[0])
    other.close("FINISHED")
    before = {p: p.read_bytes() for p in (tmp_path / "other").rglob("*") if p.is_file()}
    tracker = TensorBoardTracker(tmp_path / "logs", own=own)
    tracker.start(replace(RUN, identity=str(tmp_path / "other" / "train-1"), history=HISTORY))
    tracker.close("FINISHED")
    assert {p: p.read_bytes() for p in (tmp_path / "other").rglob("*") if p.is_file()} == before
    folder = tmp_path / "logs" / ("" if own else "train-1")
    assert points(folder, "loss/val") == [(1, 2.0), (2, 1.5)]


@pytest.fixture
def mlflow(tmp_path):
    """Return a function that creates trackers of one SQLite file, as several processes would."""
    return lambda: MLflowTracker(
        f"sqlite:///{tmp_path / 'a b' / 'mlflow.db'}", tmp_path / "artifacts"
    )


def steps(tracker, run_id, key):
    return [(m.step, m.value) for m in tracker.client.get_metric_history(run_id, key)]


def test_mlflow_has_parameters_curves_metrics_and_artifacts(mlflow, artifacts):
    tracker = mlflow()
    tracker.start(RUN)
    for epoch, metrics in enumerate(HISTORY, 1):
        tracker.log_epoch(epoch, metrics)
    tracker.finish({"final/test_accuracy": 0.75}, artifacts)
    tracker.close("FINISHED")
    run = tracker.client.get_run(tracker.run_id)
    assert run.info.run_name == "train-1"
    assert run.info.status == "FINISHED"
    assert run.data.params["model.channels"] == "[4, 8]"
    assert run.data.metrics["final/test_accuracy"] == 0.75
    assert steps(tracker, tracker.run_id, "loss/val") == [(1, 2.0), (2, 1.5)]
    listed = {file.path for file in tracker.client.list_artifacts(tracker.run_id)}
    assert listed == {"report.html", "confusion_matrix.png", "model"}


def test_resumed_mlflow_run_has_each_point_once(mlflow):
    identities = []
    first = mlflow()
    first.start(replace(RUN, remember=identities.append))
    for epoch in (1, 2):
        first.log_epoch(epoch, HISTORY[epoch - 1])
    first.close("KILLED")
    again = mlflow()
    again.start(replace(RUN, identity=identities[0], history=HISTORY[:1]))
    again.log_epoch(2, HISTORY[1])
    again.finish({"final/loss": 1.5}, Artifacts())
    again.finish({"final/loss": 1.5}, Artifacts())
    assert again.run_id == first.run_id
    assert steps(again, again.run_id, "loss/val") == [(1, 2.0), (2, 1.5)]
    experiment = again.client.get_experiment_by_name(EXPERIMENT)
    assert len(again.client.search_runs([experiment.experiment_id])) == 1


def test_mlflow_run_of_another_server_starts_anew(mlflow):
    tracker = mlflow()
    tracker.start(replace(RUN, identity="0" * 32, history=HISTORY))
    assert steps(tracker, tracker.run_id, "loss/val") == [(1, 2.0), (2, 1.5)]


def test_trial_in_mlflow_is_a_nested_run(mlflow):
    tracker = mlflow()
    tracker.start(RUN)
    tracker.log_trial(TRIAL)
    tracker.log_trial(TRIAL)
    tracker.log_trial(replace(TRIAL, number=5, state="failed"))
    tracker.log_trial(FINALIST)
    tracker.log_trial(FINALIST)
    runs = tracker.client.search_runs(
        [tracker.experiment], f"tags.`mlflow.parentRunId` = '{tracker.run_id}'"
    )
    by_name = {run.info.run_name: run for run in runs}
    assert sorted(run.info.run_name for run in runs) == [
        "trial 4",
        "trial 4 with seed 7",
        "trial 5",
    ]
    assert by_name["trial 4 with seed 7"].data.metrics["final/loss"] == 0.7
    trial = by_name["trial 4"]
    assert trial.data.params == {"model.hidden": "16"}
    assert trial.data.metrics["final/loss"] == 0.8
    assert steps(tracker, trial.info.run_id, "loss/val") == [(1, 0.9), (2, 0.8)]
    assert by_name["trial 5"].info.status == "FAILED"


SPY = """
import socket, sys
from pathlib import Path

def refuse(self, address, *rest):
    if self.family != socket.AF_UNIX:
        print("connection to", address)
    raise OSError("no network")

socket.socket.connect = socket.socket.connect_ex = refuse
from fashioncnn.tracking.mlflow import MLflowTracker
from fashioncnn.tracking.tracker import Artifacts, TrackedRun
tracker = MLflowTracker("sqlite:///mlflow.db", Path("artifacts"))
tracker.start(TrackedRun("run", {"a": 1}))
tracker.log_epoch(1, {"loss/val": 1.0})
tracker.finish({}, Artifacts())
tracker.close("FINISHED")
import mlflow
from mlflow.telemetry.utils import is_telemetry_disabled
print("telemetry is off:", is_telemetry_disabled())
"""


def test_mlflow_sends_nothing_and_its_telemetry_is_off():
    environment = {k: v for k, v in os.environ.items() if k not in ("DO_NOT_TRACK", "CI")}
    environment.pop("PYTEST_CURRENT_TEST", None)  # with which MLflow would send nothing anyway
    environment.pop("MLFLOW_DISABLE_TELEMETRY", None)
    result = subprocess.run(
        [sys.executable, "-c", SPY],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=Path(),
        timeout=280,
    )
    assert result.stdout == "telemetry is off: True\n"


@pytest.mark.parametrize(
    ("option", "place"),
    [
        (TrackerOption("tensorboard"), ("runs/a/tensorboard", True)),
        (TrackerOption("tensorboard", "logs"), ("logs", False)),
        (TrackerOption("mlflow"), ("sqlite:///{}/runs/mlflow.db", "runs/mlflow-artifacts")),
        (
            TrackerOption("mlflow", "sqlite:///x/a.db"),
            ("sqlite:///{}/x/a.db", "x/mlflow-artifacts"),
        ),
        (TrackerOption("mlflow", "http://127.0.0.1:5000"), ("http://127.0.0.1:5000", None)),
    ],
    ids=str,
)
def test_option_names_a_place(option, place):
    tracker = make_tracker(option, Path("runs/a"))
    if option.kind == "tensorboard":
        assert (str(tracker.parent), tracker.own) == place
        return
    uri, artifacts = place
    assert tracker.uri == uri.format(Path.cwd())
    assert tracker.artifacts == (None if artifacts is None else Path.cwd() / artifacts)
