"""What is sent to trackers, and that their failures stay theirs."""

import threading
import time

import numpy as np
import pytest
import torch

from fashioncnn.errors import InterruptedRun
from fashioncnn.reporting.trials import Trial
from fashioncnn.tracking import track as module
from fashioncnn.tracking.background import Background
from fashioncnn.tracking.options import TrackerOption
from fashioncnn.tracking.record import TrackingRecord
from fashioncnn.tracking.track import Track, tracking
from fashioncnn.tracking.tracker import (
    epoch_metrics,
    final_metrics,
    flat_settings,
    tracked_trial,
)
from fashioncnn.training.run import train_model

OPTION = TrackerOption("mlflow", "http://ann:secret@host:1")


class FakeTracker:
    """Records its calls, and fails in one of them."""

    def __init__(self, failing=None, error=None):
        self.calls, self.failing = [], failing
        self.error = error or OSError("disk full at http://ann:secret@host:1\nmore")

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))
            if name == self.failing:
                raise self.error

        return call

    @property
    def names(self):
        return [name for name, *_ in self.calls]


def track_with(tracker, notes=None, **options):
    notify = (notes if notes is not None else []).append
    return Track({OPTION: tracker}, "run", {"training.epochs": 2}, notify=notify, **options)


def weights_of(result):
    return {k: v.numpy() for k, v in result.model.network.state_dict().items()}


def test_training_is_tracked_and_has_the_same_weights(small, tiny_settings):
    tracker = FakeTracker()
    track = track_with(tracker)
    generator = torch.random.get_rng_state()
    tracked = train_model(tiny_settings(), small, callbacks=[track])
    track.finish_run(tracked.metrics, None)
    track.close("FINISHED")
    plain = train_model(tiny_settings(), small)
    assert torch.equal(torch.random.get_rng_state(), generator)
    for name, weights in weights_of(plain).items():
        np.testing.assert_array_equal(weights_of(tracked)[name], weights)
    assert tracker.names == ["start", "log_epoch", "log_epoch", "finish", "close"]
    (_, run), (_, epoch, metrics), *_, (_, final, _), (_, status) = tracker.calls
    assert (run.name, run.parameters, list(run.history)) == ("run", {"training.epochs": 2}, [])
    assert (epoch, status) == (1, "FINISHED")
    assert metrics["loss/train"] == tracked.history[0]["train_loss"]
    assert metrics["accuracy/test"] == tracked.history[0]["test_accuracy"]
    assert final["final/test_accuracy"] == tracked.metrics["test"]["accuracy"]


@pytest.mark.parametrize("failing", ["start", "log_epoch", "finish", "close"])
def test_failing_tracker_does_not_end_a_training_and_is_reported_once(
    small, tiny_settings, failing
):
    notes, tracker = [], FakeTracker(failing)
    track = track_with(tracker, notes)
    result = train_model(tiny_settings(), small, callbacks=[track])
    track.finish_run(result.metrics, None)
    track.close("FINISHED")
    assert notes == [
        "--track mlflow:http://host:1: stopped, and the work goes on (disk full at http://host:1)"
    ]
    assert tracker.names[-1] == failing


def test_tracker_that_does_not_answer_neither_delays_nor_keeps_the_process(monkeypatch):
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.1)
    released, notes = threading.Event(), []
    tracker = FakeTracker()
    tracker.start = lambda run: released.wait()
    track = track_with(tracker, notes)
    track.start()
    track.close("FINISHED")
    assert notes == [
        "--track mlflow:http://host:1: stopped, and the work goes on (no answer within 0 s)"
    ]
    released.set()


def test_one_failing_tracker_leaves_the_other_alone():
    good, bad = FakeTracker(), FakeTracker("start")
    options = {OPTION: bad, TrackerOption("tensorboard", "x"): good}
    track = Track(options, "run", {})
    track.start()
    track.finish({}, None)
    track.close("FINISHED")
    assert good.names == ["start", "finish", "close"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InterruptedRun("stopped"), "KILLED"),
        (KeyboardInterrupt(), "KILLED"),
        (ValueError(), "FAILED"),
        (None, "FINISHED"),
    ],
)
def test_run_ends_with_the_status_of_the_training(monkeypatch, error, status):
    tracker = FakeTracker()
    monkeypatch.setattr(module, "make_tracker", lambda option, folder: tracker)
    try:
        with tracking([OPTION], "run", {}, None, print):
            if error is not None:
                raise error
    except type(error or KeyError()) as raised:
        assert raised is error
    assert tracker.calls == [("close", status)]


def test_teachers_are_not_tracked(small, tiny_settings):
    tracker = FakeTracker()
    track = track_with(tracker)
    settings = tiny_settings("distillation.ensemble_size=1", "distillation.epochs=1")
    train_model(settings, small, callbacks=[track])
    track.close("FINISHED")
    assert tracker.names == ["start", "log_epoch", "log_epoch", "close"]


def test_calls_are_made_in_their_order_in_another_thread():
    thread, seen = Background("test"), []
    for number in range(100):
        thread.submit(lambda n: seen.append((n, threading.current_thread().name)), number)
    thread.close(60)
    assert seen == [(n, "test") for n in range(100)]


def test_submitting_does_not_wait():
    thread, released = Background("test"), threading.Event()
    thread.submit(released.wait)
    start = time.monotonic()
    thread.submit(released.wait)
    assert time.monotonic() - start < 60
    released.set()
    thread.close(60)
    assert thread.failure is None


def test_record_survives_the_process_and_damage(tmp_path):
    TrackingRecord(tmp_path).remember("mlflow", "run-1")
    assert TrackingRecord(tmp_path).identity("mlflow") == "run-1"
    assert TrackingRecord(tmp_path).identity("tensorboard") is None
    (tmp_path / "tracking.json").write_text("{")
    assert TrackingRecord(tmp_path).identity("mlflow") is None
    TrackingRecord(None).remember("mlflow", "run-1")


def test_places_are_stored_without_passwords(tmp_path):
    options = {OPTION: FakeTracker(), TrackerOption("tensorboard"): FakeTracker()}
    Track(options, "run", {}, tmp_path).close("FINISHED")
    assert TrackingRecord(tmp_path).places == ["mlflow:http://host:1", "tensorboard"]
    assert "secret" not in (tmp_path / "tracking.json").read_text()
    Track({}, "run", {}, tmp_path).close("FINISHED")
    assert TrackingRecord(tmp_path).places == ["mlflow:http://host:1", "tensorboard"]


@pytest.mark.parametrize("content", ["{", "[]", '{"track": 3}', '{"track": [3, null, {}]}'])
def test_damaged_record_names_no_place(content, tmp_path):
    (tmp_path / "tracking.json").write_text(content)
    assert TrackingRecord(tmp_path).places == []


def test_each_trial_and_finalist_is_sent_once():
    tracker = FakeTracker()
    track = track_with(tracker)
    trial = Trial(3, "complete", 0.5, 0.9, 1, 2.0, {"model.hidden": 8}, True, None, (0.5,))
    run = Trial(0, "complete", 0.4, 0.8, 1, 2.0, {"model.hidden": 8}, True, None, (0.4,))
    for _ in range(2):
        track.log_trials([tracked_trial(trial), tracked_trial(run, 3, 7)])
    track.close("FINISHED")
    assert tracker.names == ["log_trial", "log_trial", "close"]
    first, second = (call[1] for call in tracker.calls[:2])
    assert (first.name, second.name) == ("trial 3", "trial 3 with seed 7")
    assert second.parameters == {"model.hidden": 8, "training.seed": 7}
    assert second.metrics == {"final/loss": 0.4, "final/accuracy": 0.8, "final/seconds": 2.0}


def test_numbers_are_named_by_metric_and_split(tiny_result):
    assert epoch_metrics(
        {"epoch": 3, "train_loss": 0.5, "val_accuracy": 0.9, "test_loss": None, "seconds": 2}
    ) == {"loss/train": 0.5, "accuracy/val": 0.9, "seconds": 2.0}
    assert epoch_metrics({"epoch": 1, "train_loss": float("nan")}) == {}
    final = final_metrics(tiny_result.metrics)
    assert final["final/test_loss"] == tiny_result.metrics["test"]["loss"]
    assert final["final/final_train_loss"] == tiny_result.metrics["summary"]["final_train_loss"]


def test_settings_are_named_by_their_dotted_keys(tiny_settings):
    flat = flat_settings(tiny_settings())
    assert flat["model.channels"] == [4, 8]
    assert flat["recipe"] == "baseline"
    assert flat["training.epochs"] == 2
