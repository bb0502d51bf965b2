import json
from dataclasses import replace
from unittest.mock import ANY

import numpy as np
import pytest
import torch

from fashioncnn.config import resolve
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.errors import (
    DataError,
    DivergedError,
    InterruptedRun,
    OutOfMemoryError,
    RunError,
    UsageError,
)
from fashioncnn.evaluation.calibration import fit_abstention_threshold
from fashioncnn.evaluation.metrics import softmax
from fashioncnn.models.trained_model import load_model
from fashioncnn.runs import create_run
from fashioncnn.training.callbacks import Silent
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import _Job, train_model
from fashioncnn.training.state import TrainState


class StopAt:
    """Ask to stop after so many steps."""

    def __init__(self, step):
        self.left = step

    def __call__(self):
        self.left -= 1
        return InterruptedRun("stopped") if self.left <= 0 else None


def result_bytes(run):
    """The bytes that a stopped and resumed run must share with one that never stopped."""
    history = [
        {k: v for k, v in r.items() if k not in ("seconds", "images_per_second")}
        for r in run.read_history()
    ]
    return (
        (run.model / "model.safetensors").read_bytes(),
        run.predictions.read_bytes(),
        json.dumps(history),
    )


VARIANTS = {
    "adam": (),
    "sgd, cosine": (
        "optimizer.name=sgd",
        "optimizer.learning_rate=0.05",
        "schedule.name=cosine",
        "schedule.warmup=0.2",
    ),
    "best validation epoch": ("data.validation=60", "training.select=best_val"),
    "bf16": ("runtime.precision=bf16",),
    "muon, batch normalisation": (
        "model.name=batchnorm_cnn",
        "model.channels=[4, 8]",
        "optimizer.name=muon",
        "optimizer.learning_rate=0.05",
        "optimizer.adam_learning_rate=0.005",
        "schedule.name=linear",
        "schedule.warmup=0.2",
    ),
    "averaged weights": ("training.ema_decay=0.9",),
    "averaged weights, best epoch, batch norm": (
        "model.name=batchnorm_cnn",
        "model.channels=[4, 8]",
        "training.ema_decay=0.9",
        "data.validation=60",
        "training.select=best_val",
    ),
    "every augmentation": tuple(
        f"augmentation.{setting}"
        for setting in (
            "flip=0.5",
            "shift=2",
            "crop=0.2",
            "rotation=10",
            "scale=0.1",
            "shear=10",
            "brightness=0.2",
            "contrast=0.2",
            "blur=0.5",
            "noise=0.05",
            "erasing=0.5",
            "cutout=0.3",
            "mixup=0.2",
            "cutmix=1.0",
            "photograph=0.5",
            "outlier_exposure=0.2",
        )
    ),
    "residual": (
        "model.name=residual_cnn",
        "model.channels=[16, 32]",
        "model.blocks=[1, 1]",
        "model.dropout=0.1",
        "runtime.kernels=auto",
    ),
    "taught": (
        "distillation.ensemble_size=2",
        "distillation.epochs=1",
        "training.label_smoothing=0.1",
        "training.ema_decay=0.9",
        "data.validation=60",
    ),
    "compiled kernels": ("runtime.kernels=auto", "runtime.threads=2", "model.channels=[32, 32]"),
}


@pytest.mark.parametrize("stops", [(1,), (10,), (13,), (3, 4, 9)], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_stopped_and_resumed_equals_never_stopped(variant, stops, small, tiny_settings, tmp_path):
    settings = tiny_settings(*VARIANTS[variant])
    whole = create_run(tmp_path / "whole", settings)
    train_model(settings, small, run=whole)
    pieces = create_run(tmp_path / "pieces", settings)
    for stop in stops:
        with pytest.raises(InterruptedRun):
            train_model(settings, small, run=pieces, stop=StopAt(stop))
    train_model(settings, small, run=pieces)
    assert result_bytes(pieces) == result_bytes(whole)


def test_run_folder_is_as_designed(small, tiny_settings, tmp_path):
    settings = tiny_settings("data.validation=60")
    run = create_run(tmp_path / "run", settings)
    train_model(settings, small, run=run)
    names = {p.name for p in run.path.iterdir()}
    assert names == {
        "config.toml",
        "environment.json",
        "history.jsonl",
        "metrics.json",
        "predictions.npz",
        "checkpoints",
        "model",
    }
    assert {p.name for p in run.model.iterdir()} == {
        "config.json",
        "model.safetensors",
        "README.md",
    }
    assert list(run.read_history()[0]) == [
        "epoch",
        "train_loss",
        "train_accuracy",
        "val_loss",
        "val_accuracy",
        "test_loss",
        "test_accuracy",
        "learning_rate",
        "seconds",
        "images_per_second",
    ]
    metrics = json.loads(run.metrics.read_text())
    assert list(metrics) == ["schema", "validation", "test", "summary"]
    summary = metrics["summary"]
    assert summary["best_test_accuracy"].keys() == {"value", "epoch"}
    assert summary["final_test_accuracy"] == metrics["test"]["accuracy"]
    assert summary["final_test_loss"] == metrics["test"]["loss"]
    assert summary["final_train_loss"] == run.read_history()[-1]["train_loss"]
    environment = json.loads(run.environment.read_text())
    assert environment["data"]["sha256"] == small.hashes
    assert environment["threads"] == 1
    assert run.settings() == settings


def test_test_part_is_not_read_unless_asked_for(small, tiny_settings, tmp_path):
    blind = Dataset("sketches", small.class_names, small.train, None, "fashion", "sketches")
    settings = tiny_settings("training.track_test=false", "data.validation=60")
    result = train_model(settings, blind)
    assert result.metrics["test"] is None
    assert all(r["test_accuracy"] is None for r in result.history)


def test_tracking_a_test_part_that_is_not_there(small, tiny_settings):
    blind = Dataset("own", small.class_names, small.train, None, "fashion", "own")
    with pytest.raises(DataError, match="no test split"):
        train_model(tiny_settings(), blind)


def test_best_validation_epoch_is_kept(small, tiny_settings):
    settings = tiny_settings(
        "data.validation=60", "training.select=best_val", "optimizer.learning_rate=0.03", epochs=6
    )
    result = train_model(settings, small)
    losses = [r["val_loss"] for r in result.history]
    best = int(np.argmin(losses))
    assert result.metrics["summary"]["selected_epoch"] == best + 1
    assert result.metrics["validation"]["loss"] == pytest.approx(losses[best])
    by_accuracy = train_model(
        settings.model_copy(
            update={"training": settings.training.model_copy(update={"select_by": "accuracy"})}
        ),
        small,
    )
    accuracies = [r["val_accuracy"] for r in by_accuracy.history]
    assert by_accuracy.metrics["validation"]["accuracy"] == max(accuracies)


def test_divergence_leaves_the_last_good_checkpoint(small, tiny_settings, tmp_path):
    settings = tiny_settings("optimizer.name=sgd", "optimizer.learning_rate=1e12", epochs=9)
    run = create_run(tmp_path / "run", settings)
    with pytest.raises(InterruptedRun):  # the first step's loss and weights are still finite
        train_model(settings, small, run=run, stop=StopAt(1))
    before = {p.name: p.read_bytes() for p in run.checkpoints.iterdir()}
    with pytest.raises(DivergedError):
        train_model(settings, small, run=run)
    assert {p.name: p.read_bytes() for p in run.checkpoints.iterdir()} == before
    assert len(before) == 2


def test_weights_that_the_last_step_broke_are_found(small, tiny_settings, tmp_path):
    """One step: its loss is finite, but what it leaves behind is not, and no next loss tells."""
    settings = tiny_settings(
        "optimizer.name=sgd",
        "optimizer.learning_rate=1e45",
        "training.track_test=false",
        epochs=1,
        batch_size=300,
    )
    run = create_run(tmp_path / "run", settings)
    with pytest.raises(DivergedError, match="no longer finite after step 1"):
        train_model(settings, small, run=run)
    assert not run.checkpoints.exists()
    assert not run.finished


def test_resuming_on_other_data_is_refused(small, sketches, tiny_settings, tmp_path):
    settings = tiny_settings()
    run = create_run(tmp_path / "run", settings)
    with pytest.raises(InterruptedRun):
        train_model(settings, small, run=run, stop=StopAt(5))
    environment = run.environment.read_bytes()
    with pytest.raises(RunError, match="other training data"):
        train_model(settings, sketches, run=run)
    assert run.environment.read_bytes() == environment


def test_seeds_decide_the_result(small, tiny_settings):
    one, again, other = (train_model(tiny_settings(seed=s), small) for s in (1, 1, 2))
    assert one.model.sha256 == again.model.sha256
    assert one.model.sha256 != other.model.sha256


def test_starting_from_a_network_takes_its_weights(small, tiny_settings, tiny_outcome):
    settings = tiny_settings("model.hidden=99", "optimizer.learning_rate=1e-12", epochs=1)
    settings = prepare_settings(settings, small, tiny_outcome.model)
    assert settings.model.hidden == 16
    result = train_model(settings, small, start_from=tiny_outcome.model)
    for ours, theirs in zip(
        result.model.network.parameters(), tiny_outcome.model.network.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("stop", [1, 4, 14])
def test_a_run_from_other_weights_resumes_to_the_same_bytes(stop, small, tiny_settings, tmp_path):
    start = train_model(tiny_settings("data.scaling=symmetric", epochs=1), small).model
    settings = prepare_settings(tiny_settings(), small, start)
    assert settings.data.scaling == "symmetric"
    whole = create_run(tmp_path / "whole", settings)
    train_model(settings, small, run=whole, start_from=start)
    pieces = create_run(tmp_path / "pieces", settings)

    class KilledError(Exception):
        """Stands for a kill before the first step."""

    class Kills:
        def begin(self, progress, images):
            raise KilledError

        def step(self, progress): ...

        def epoch(self, record): ...

    with pytest.raises(KilledError):
        train_model(settings, small, run=pieces, start_from=start, observer=Kills())
    with pytest.raises(InterruptedRun):
        train_model(settings, small, run=pieces, stop=StopAt(stop))
    train_model(settings, small, run=pieces)
    assert result_bytes(pieces) == result_bytes(whole)


def test_a_run_that_never_had_its_weights_to_begin_with_says_so(
    small, tiny_settings, tiny_outcome, tmp_path, monkeypatch
):
    run = create_run(tmp_path / "run", tiny_settings())

    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(TrainState, "begin", full)
        with pytest.raises(OutOfMemoryError, match="not enough memory"):
            train_model(run.settings(), small, run=run, start_from=tiny_outcome.model)
    with pytest.raises(RunError, match="was to begin with the weights of a model"):
        train_model(run.settings(), small, run=run)
    train_model(run.settings(), small, run=run, start_from=tiny_outcome.model)
    assert run.read_environment()["began_from"] == tiny_outcome.model.sha256


def test_a_loss_of_nothing_but_nan_is_found_in_judging(small, tiny_settings):
    settings = tiny_settings(
        "data.validation=60", "optimizer.learning_rate=1e30", epochs=1, batch_size=1000
    )
    with pytest.raises(DivergedError):
        train_model(settings, small)


@pytest.mark.parametrize(
    ("assignment", "error"),
    [
        ("model.channels=[4, 4, 4, 4, 4, 4]", "leave nothing"),
        ("data.validation=300", "validation = 300"),
        ("augmentation.shift=28", "augmentation.shift = 28"),
    ],
)
def test_what_can_only_fail_is_refused_before_it_begins(assignment, error, small):
    with pytest.raises(UsageError, match=error):
        prepare_settings(resolve(assignments=[assignment]), small)


def test_choosing_by_a_validation_part_that_comes_out_empty_is_refused(small):
    five = Split(small.train.images[:5], small.train.labels[:5])
    data = Dataset("own", small.class_names, five, None, "plain", "own")
    with pytest.raises(UsageError, match="needs a validation part"):
        prepare_settings(resolve("honest"), data)


@pytest.mark.parametrize("change", ["model.hidden=17", "optimizer.learning_rate=0.5"])
def test_settings_that_changed_after_it_began_are_refused(change, small, tiny_settings, tmp_path):
    settings = tiny_settings()
    run = create_run(tmp_path / "run", settings)
    with pytest.raises(InterruptedRun):
        train_model(settings, small, run=run, stop=StopAt(5))
    with pytest.raises(RunError, match=r"its config\.toml was changed"):
        train_model(tiny_settings(change), small, run=run)


@pytest.mark.parametrize(
    ("schedule", "epochs"), [("linear", 9), ("linear", 1), ("constant", 1)], ids=str
)
def test_epochs_that_cannot_follow_are_refused(schedule, epochs, small, tiny_settings, tmp_path):
    begun = tiny_settings(f"schedule.name={schedule}", epochs=2)
    run = create_run(tmp_path / "run", begun)
    train_model(begun, small, run=run)
    other = tiny_settings(f"schedule.name={schedule}", epochs=epochs)
    with pytest.raises(RunError, match=f"was begun for 2 epochs, not {epochs}"):
        train_model(other, small, run=run)
    assert run.settings() == begun


def test_a_recipe_described_otherwise_is_the_same(small, tiny_settings, tmp_path):
    settings = tiny_settings()
    run = create_run(tmp_path / "run", settings)
    with pytest.raises(InterruptedRun):
        train_model(settings, small, run=run, stop=StopAt(5))
    described = settings.model_copy(update={"description": "in other words"})
    assert train_model(described, small, run=run).metrics["summary"]["epochs"] == 2


def test_a_checkpoint_that_lacks_something_is_refused(small, tiny_settings, tmp_path):
    settings = tiny_settings()
    run = create_run(tmp_path / "run", settings)
    with pytest.raises(InterruptedRun):
        train_model(settings, small, run=run, stop=StopAt(5))
    (manifest,) = run.checkpoints.glob("*.json")
    content = json.loads(manifest.read_text())
    del content["state"]["progress"]["step"]
    manifest.write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"does not fit its config\.toml \('step'\)"):
        train_model(settings, small, run=run)


def test_class_weights_lift_a_rare_class(small, tiny_settings, sketches):
    """Bags are easy; with 1 in 40 of them left, only weights make the network care in time."""
    is_bag = sketches.train.labels == 8
    rare = np.flatnonzero(~is_bag | (np.arange(3000) % 40 == 0))[:1200]
    uneven = Dataset(
        "uneven", small.class_names, sketches.train.subset(rare), small.test, "fashion", "x"
    )

    def taken_for_bags(weights):
        settings = tiny_settings(f"data.class_weights={weights}", epochs=20, learning_rate=5e-3)
        return sum(row[8] for row in train_model(settings, uneven).metrics["test"]["confusion"])

    weighted, plain = taken_for_bags("auto"), taken_for_bags("none")
    assert weighted > plain, f"{weighted} taken for bags with weights, {plain} without"


def test_a_saved_model_is_the_one_that_was_judged(small, tiny_settings, tmp_path):
    settings = tiny_settings("data.validation=60", "training.select=best_val", epochs=4)
    run = create_run(tmp_path / "run", settings)
    result = train_model(settings, small, run=run)
    assert load_model(run.path).sha256 == result.model.sha256
    assert "| validation | 60 |" in (run.model / "README.md").read_text()


def test_auto_values_are_resolved_to_what_is_used(small):
    settings = prepare_settings(resolve("honest", flags={"device": "cpu"}), small)
    assert settings.data.validation == 50
    assert isinstance(settings.runtime.threads, int)


def test_validation_as_large_as_the_data_is_refused(small):
    with pytest.raises(UsageError, match="validation = 300"):
        prepare_settings(resolve("honest", flags={"validation": 300}), small)


def test_a_run_that_knew_fewer_settings_goes_on(small, tiny_settings, tmp_path):
    """Begun by a version that had no augmentation and no averaging."""
    settings = tiny_settings()
    run = create_run(tmp_path / "run", settings)
    with pytest.raises(InterruptedRun):
        train_model(settings, small, run=run, stop=StopAt(5))
    for path in run.checkpoints.glob("*.json"):
        manifest = json.loads(path.read_text())
        del manifest["state"]["settings"]["augmentation"]
        del manifest["state"]["settings"]["data"]["views"]  # ``auto`` by default, and resolved
        del manifest["state"]["settings"]["training"]["averaging"]
        path.write_text(json.dumps(manifest))
    result = train_model(settings, small, run=run)
    assert len(result.history) == 2


def test_averaged_weights_are_judged_and_kept(small, tiny_settings, tmp_path):
    decay = 0.9
    states = []

    class Watch(Silent):
        def step(self, progress):
            states.append({k: v.clone() for k, v in job.model.network.state_dict().items()})

    settings = tiny_settings(f"training.ema_decay={decay}")
    job = _Job(settings, small, None, None, Watch(), lambda: None)
    job.learn()
    result = job.conclude()
    mean = states[0]
    for n, state in enumerate(states[1:], 1):
        keep = min(decay, (1 + n) / (10 + n))
        mean = {name: keep * mean[name] + (1 - keep) * state[name] for name in mean}
    kept = result.model.network.state_dict()
    for name, values in mean.items():
        torch.testing.assert_close(kept[name], values, msg=f"{name} is not the mean")
        assert not torch.equal(kept[name], states[-1][name])
    logits = result.predictions["test"][0]
    assert (logits.argmax(1) == small.test.labels).mean() == result.metrics["test"]["accuracy"]


def test_a_validation_part_sets_the_temperature(small, tiny_settings):
    result = train_model(
        tiny_settings("training.label_smoothing=0.3", "data.validation=auto"), small
    )
    calibrated = result.metrics["validation"]["calibrated"]
    assert result.model.temperature == calibrated["temperature"] != 1
    assert calibrated["loss"] < result.metrics["validation"]["loss"]
    set_to = train_model(tiny_settings("training.temperature=0.7", "data.validation=auto"), small)
    assert set_to.metrics["validation"]["calibrated"]["temperature"] == 0.7


def test_without_a_validation_part_the_temperature_is_one(small, tiny_settings):
    settings = tiny_settings("data.validation=0", "training.abstain_below=auto")
    model = train_model(settings, small).model
    assert (model.temperature, model.abstain_below) == (1, 0)


def test_a_validation_part_sets_what_is_unsure(small, tiny_settings):
    held = "data.validation=auto"
    model = train_model(tiny_settings(held, "training.abstain_below=auto"), small).model
    assert 0.1 < model.abstain_below < 1
    assert train_model(tiny_settings(held, "training.abstain_below=0.3"), small).model == replace(
        model, network=ANY, abstain_below=0.3
    )


def test_who_learns_photographs_is_calibrated_on_them(small, tiny_settings):
    settings = tiny_settings(
        "data.validation=auto",
        "augmentation.photograph=0.5",
        "training.abstain_below=auto",
        "training.temperature=1",
    )
    result = train_model(settings, small)
    bound = result.model.abstain_below
    logits, labels = result.predictions["validation"]
    assert bound != fit_abstention_threshold(softmax(logits).max(1), logits.argmax(1) == labels)
    assert result.model.ood_detector is None
    assert train_model(settings, small).model.abstain_below == bound


def test_who_learns_what_is_of_no_class_tells_how_probably_a_image_is_of_one(small, tiny_settings):
    settings = tiny_settings(
        "data.validation=auto",
        "augmentation.photograph=0.5",
        "augmentation.outlier_exposure=0.3",
        "training.abstain_below=auto",
        "optimizer.learning_rate=0.003",
        epochs=20,  # who has learnt nothing yet tells nothing either
    )
    model = train_model(settings, small).model
    assert model.ood_detector is not None
    assert model.ood_detector.slope > 0
    assert 0 < model.abstain_below < 1
    assert train_model(settings, small).model.ood_detector == model.ood_detector
