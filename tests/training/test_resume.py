"""A run that is interrupted at any point and resumed writes the files of an uninterrupted one."""

import contextlib
import itertools
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from fashioncnn import files
from fashioncnn.errors import InterruptedRun, RunError
from fashioncnn.models.trained_model import load_model
from fashioncnn.runs import create_run, new_run
from fashioncnn.training.checkpoint import load_checkpoint, save_checkpoint
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.resume import Checkpoints
from fashioncnn.training.run import train_model, write_start

STEPS = 8
"""Steps of two epochs: 100 images in batches of 32."""
BATCHNORM = ("model.name=batchnorm_cnn", "model.channels=[4, 8]")
AUGMENTATIONS = {
    "flip": 0.5,
    "shift": 2,
    "crop": 0.2,
    "rotation": 10,
    "scale": 0.1,
    "shear": 10,
    "brightness": 0.2,
    "contrast": 0.2,
    "blur": 0.5,
    "noise": 0.05,
    "erasing": 0.5,
    "cutout": 0.3,
    "mixup": 0.2,
    "cutmix": 1.0,
    "photograph": 0.5,
    "outlier_exposure": 0.2,
}
VARIANTS = {
    "adam": (),
    "sgd, cosine": (
        "optimizer.name=sgd",
        "optimizer.learning_rate=0.05",
        "schedule.name=cosine",
        "schedule.warmup=0.2",
    ),
    "best validation epoch": ("data.validation=20", "training.select=best_val"),
    "bf16": ("runtime.precision=bf16",),
    "muon, batch norm": (
        *BATCHNORM,
        "optimizer.name=muon",
        "optimizer.learning_rate=0.05",
        "optimizer.adam_learning_rate=0.005",
        "schedule.name=linear",
        "schedule.warmup=0.2",
    ),
    "ema": ("training.ema_decay=0.9",),
    "ema, best epoch, batch norm": (
        *BATCHNORM,
        "training.ema_decay=0.9",
        "data.validation=20",
        "training.select=best_val",
    ),
    "all augmentations": tuple(f"augmentation.{k}={v}" for k, v in AUGMENTATIONS.items()),
    "residual": (
        "model.name=residual_cnn",
        "model.channels=[16, 32]",
        "model.blocks=[1, 1]",
        "model.dropout=0.1",
        "runtime.kernels=auto",
    ),
    "distillation": (
        "distillation.ensemble_size=2",
        "distillation.epochs=1",
        "training.label_smoothing=0.1",
        "training.ema_decay=0.9",
        "data.validation=20",
    ),
    "native kernels": ("model.channels=[32, 32]", "runtime.kernels=auto"),
}


class KilledError(BaseException):
    """Stands for a kill of the process."""


@pytest.fixture
def make_run(mini, tiny_settings, tmp_path):
    """Return a function that creates a run folder on `mini`."""
    numbers = itertools.count()

    def make(*assignments, **flags):
        settings = tiny_settings(*assignments, dataset=mini, **flags)
        return create_run(tmp_path / str(next(numbers)), settings)

    return make


@pytest.fixture
def interrupted(make_run, mini, stop_after):
    """Return a run that was interrupted after 3 steps."""
    run = make_run()
    with pytest.raises(InterruptedRun):
        train_model(run.settings(), mini, run=run, stop=stop_after(3))
    return run


def train_interrupted(run, dataset, *stops):
    """Train a run to its end; `stops` are the steps of each process before it is interrupted."""
    for stop in stops:
        with pytest.raises(InterruptedRun):
            train_model(run.settings(), dataset, run=run, stop=stop)
    return train_model(run.settings(), dataset, run=run)


@pytest.mark.parametrize("variant", VARIANTS)
def test_interrupted_run_equals_uninterrupted(variant, make_run, mini, stop_after, files_of):
    """Interrupted in the first epoch, at its end, and in the second epoch."""
    whole, pieces = (make_run(*VARIANTS[variant]) for _ in range(2))
    train_model(whole.settings(), mini, run=whole)
    train_interrupted(pieces, mini, *(stop_after(steps) for steps in (1, 3, 2)))
    assert files_of(pieces) == files_of(whole)


def test_run_interrupted_after_any_step_equals_uninterrupted(make_run, mini, stop_after, files_of):
    whole = make_run()
    train_model(whole.settings(), mini, run=whole)
    for steps in range(1, STEPS + 1):
        run = make_run()
        train_interrupted(run, mini, stop_after(steps))
        assert files_of(run) == files_of(whole), f"interrupted after step {steps}"


@contextlib.contextmanager
def kill_at_write(number):
    """Simulate a kill during the write of that number, which leaves a temporary file behind."""
    original, writes = files.atomic_file, itertools.count(1)

    @contextlib.contextmanager
    def atomic_file(path, *arguments):
        if next(writes) == number:
            files.temporary_path(path).write_bytes(b"half a file")
            raise KilledError
        with original(path, *arguments) as file:
            yield file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "atomic_file", atomic_file)
        yield writes


def test_run_killed_during_any_write_equals_uninterrupted(make_run, mini, files_of):
    selected = "data.validation=20", "training.select=best_val", "training.ema_decay=0.9"
    whole = make_run(*selected, batch_size=40)
    with kill_at_write(0) as writes:
        train_model(whole.settings(), mini, run=whole)
    total = next(writes) - 1
    assert total > 10
    for number in range(1, total + 1):
        run = make_run(*selected, batch_size=40)
        with kill_at_write(number), pytest.raises(KilledError):
            train_model(run.settings(), mini, run=run)
        with run.lock():
            train_model(run.settings(), mini, run=run)
        assert files_of(run) == files_of(whole), f"killed during write {number}"
        assert list(run.path.rglob(".*")) == []


@pytest.fixture
def initial(mini, tiny_settings):
    """Return a model that was trained with other scaling, and settings to start from it."""
    first = tiny_settings("data.scaling=symmetric", dataset=mini, epochs=1)
    model = train_model(first, mini).model
    settings = prepare_settings(tiny_settings(dataset=mini), mini, model)
    assert settings.data.scaling == "symmetric"
    return model, settings


@pytest.mark.parametrize("steps", [None, 1, 4, 7])
def test_run_from_initial_weights_resumes_without_them(
    steps, initial, mini, stop_after, files_of, tmp_path
):
    model, settings = initial
    in_memory = train_model(settings, mini, initial=model)
    write = partial(write_start, settings=settings, dataset=mini, initial=model)
    with new_run(tmp_path / "run", settings, write) as run:
        pass  # killed before the training starts
    train_interrupted(run, mini, *([] if steps is None else [stop_after(steps)]))
    assert load_model(run.path).sha256 == in_memory.model.sha256
    assert run.read_environment()["initialized_from"] == model.sha256


def test_run_from_initial_weights_appears_with_its_first_checkpoint(initial, mini, tmp_path):
    """A kill during any write of the creation leaves no run folder, and a second try works."""
    model, settings = initial
    write = partial(write_start, settings=settings, dataset=mini, initial=model)
    with kill_at_write(0) as writes, new_run(tmp_path / "whole", settings, write) as whole:
        assert load_checkpoint(whole.checkpoints)[1]["progress"]["step"] == 0
    total = next(writes) - 1
    assert total >= 4, "environment, checkpoint (two files), settings"
    for number in range(1, total + 1):
        with (
            pytest.raises(KilledError),
            kill_at_write(number),
            without_cleanup(),
            new_run(tmp_path / "run", settings, write),
        ):
            pass
        assert not (tmp_path / "run").exists()
    with new_run(tmp_path / "run", settings, write) as run:
        assert {p.name for p in run.path.rglob("*")} == {p.name for p in whole.path.rglob("*")}
    assert set(tmp_path.iterdir()) == {whole.path, run.path}


@contextlib.contextmanager
def without_cleanup():
    """Keep the files that a killed process would leave."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fashioncnn.new_folder.shutil.rmtree", lambda *_, **__: None)
        yield


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_damaged_newest_checkpoint_is_reported_and_the_previous_one_is_used(
    suffix, make_run, mini, files_of
):
    whole, damaged = make_run(), make_run()
    for run in (whole, damaged):
        train_model(run.settings(), mini, run=run)
    newest = sorted(damaged.checkpoints.glob(f"*{suffix}"))[-1]
    newest.write_bytes(newest.read_bytes()[:-3])
    messages = []
    train_model(damaged.settings(), mini, run=damaged, notify=messages.append)
    assert messages == [
        f"{damaged.checkpoints}/step-00000008: damaged; resuming from step-00000004 instead"
    ]
    assert files_of(damaged) == files_of(whole)


def test_extended_run_is_unfinished_until_its_new_report(make_run, mini, tiny_settings, stop_after):
    run = make_run(epochs=2)
    train_model(run.settings(), mini, run=run)
    run.report.write_text("of two epochs")
    with pytest.raises(InterruptedRun):
        train_model(tiny_settings(dataset=mini, epochs=3), mini, run=run, stop=stop_after(1))
    assert not run.trained
    assert not run.report.exists()


def test_extended_run_equals_one_of_that_length(make_run, mini, tiny_settings, files_of):
    longer, extended = make_run(epochs=3), make_run(epochs=2)
    for run in (longer, extended):
        train_model(run.settings(), mini, run=run)
    train_model(tiny_settings(dataset=mini, epochs=3), mini, run=extended)
    assert files_of(extended) == files_of(longer)


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [(1e-9, [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]), (1e9, [4, 8])],
    ids=["short", "long"],
)
def test_checkpoints_within_an_epoch_are_written_at_the_interval(
    seconds, steps, make_run, mini, monkeypatch
):
    saved, save = [], Checkpoints.save

    def record(self, state):
        saved.append(state.progress.step)
        save(self, state)

    monkeypatch.setattr(Checkpoints, "save", record)
    run = make_run(f"training.checkpoint_seconds={seconds}")
    train_model(run.settings(), mini, run=run)
    assert saved == steps


@pytest.mark.parametrize("order", [np.arange(100)[::-1], np.arange(99)], ids=["order", "number"])
def test_resuming_with_other_data_is_rejected(order, interrupted, mini):
    other = replace(mini, train=mini.train.subset(order))
    environment = interrupted.environment.read_bytes()
    with pytest.raises(RunError, match="was started with other training data"):
        train_model(interrupted.settings(), other, run=interrupted)
    assert interrupted.environment.read_bytes() == environment


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.hidden=17", "model.hidden from 16 to 17"),
        ("optimizer.learning_rate=0.5", "optimizer.learning_rate from 0.001 to 0.5"),
        ("runtime.precision=bf16", "runtime.precision from 'fp32' to 'bf16'"),
    ],
)
def test_resuming_with_other_settings_is_rejected(
    change, message, interrupted, mini, tiny_settings
):
    settings = tiny_settings(change, dataset=mini)
    with pytest.raises(RunError) as caught:
        train_model(settings, mini, run=interrupted)
    text = str(caught.value)
    assert f"config.toml was changed after the run started ({message})" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("schedule", "epochs"), [("linear", 9), ("linear", 1), ("constant", 1)], ids=str
)
def test_resuming_with_other_epochs_is_rejected(
    schedule, epochs, make_run, mini, tiny_settings, stop_after
):
    run = make_run(f"schedule.name={schedule}")
    settings = run.settings()
    with pytest.raises(InterruptedRun):
        train_model(settings, mini, run=run, stop=stop_after(5))
    other = tiny_settings(f"schedule.name={schedule}", dataset=mini, epochs=epochs)
    with pytest.raises(RunError, match=f"was started with 2 epochs, not {epochs}"):
        train_model(other, mini, run=run)
    assert run.settings() == settings


def test_settings_without_influence_on_the_result_may_change(interrupted, mini, make_run, files_of):
    whole = make_run()
    train_model(whole.settings(), mini, run=whole)
    settings = interrupted.settings()
    training = settings.training.model_copy(update={"checkpoint_seconds": 1.0})
    changed = settings.model_copy(update={"description": "another one", "training": training})
    train_model(changed, mini, run=interrupted)
    assert interrupted.settings() == changed
    expected, result = files_of(whole), files_of(interrupted)
    del expected["config.toml"], result["config.toml"]
    assert result == expected


def edit_state(run, edit):
    """Change the state of the only checkpoint as `edit` does, with valid hashes."""
    (path,) = run.checkpoints.glob("*.json")
    tensors, state = load_checkpoint(run.checkpoints)
    edit(tensors, state)
    save_checkpoint(run.checkpoints, int(path.stem.removeprefix("step-")), tensors, state)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda tensors, state: state["progress"].pop("step"), r"'step'"),
        (lambda tensors, state: state.pop("settings"), r"'settings'"),
        (lambda tensors, state: tensors.pop("model.output.bias"), r".*"),
    ],
    ids=["progress", "settings", "weights"],
)
def test_incomplete_checkpoint_is_rejected_in_one_line(edit, reason, interrupted, mini):
    edit_state(interrupted, edit)
    message = rf"its checkpoint does not match its config\.toml \({reason}\)"
    with pytest.raises(RunError, match=message) as caught:
        train_model(interrupted.settings(), mini, run=interrupted)
    assert "\n" not in str(caught.value)


def test_checkpoint_without_later_settings_is_resumed(interrupted, mini):
    """A setting that a later version adds has its default value."""

    def remove_settings(tensors, state):
        del state["settings"]["augmentation"]
        del state["settings"]["training"]["ema_decay"]

    edit_state(interrupted, remove_settings)
    result = train_model(interrupted.settings(), mini, run=interrupted)
    assert len(result.history) == 2


def test_run_that_ended_before_it_saved_its_initial_weights_is_rejected(
    make_run, mini, tiny_result, monkeypatch
):
    run = make_run()
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr("fashioncnn.training.run.create_state", raise_killed)
        train_model(run.settings(), mini, run=run, initial=tiny_result.model)
    with pytest.raises(RunError, match="should start from the weights of a model"):
        train_model(run.settings(), mini, run=run)
    train_model(run.settings(), mini, run=run, initial=tiny_result.model)
    assert run.read_environment()["initialized_from"] == tiny_result.model.sha256


def raise_killed(*_):
    raise KilledError


def test_saved_model_is_the_result(make_run, mini):
    run = make_run("data.validation=20", "training.select=best_val")
    result = train_model(run.settings(), mini, run=run)
    assert load_model(run.path).sha256 == result.model.sha256
    assert run.read_metrics() == result.metrics
    assert run.read_history() == result.history
    assert "| validation | 20 |" in (run.model / "README.md").read_text()
