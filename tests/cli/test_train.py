import json
import sys
from pathlib import Path

import pytest
import torch

from fashioncnn.files import write_atomic

from ..data.test_class_folders import fill
from .conftest import NO_EPOCHS, QUICK, command_id

FILES = {
    "config.toml",
    "environment.json",
    "history.jsonl",
    "metrics.json",
    "predictions.npz",
    "curves.png",
    "confusion_matrix.png",
    "report.html",
    "report.md",
    "checkpoints",
    "model",
}


@pytest.mark.usefixtures("with_report")
def test_training_prints_metrics_and_writes_a_run_folder(cli, idx_folder):
    code, out, err = cli("train", *QUICK, "--data", idx_folder)
    assert code == 0
    for title in ("Performance summary", "Per-class performance", "Most confused pairs"):
        assert title in out
    assert "baseline on own: 300 images, 2 epochs, cpu, fp32, 1 thread, torch kernels" in err
    assert "epoch 2/2" in err
    assert "report: runs/train-1/report.html" in err
    assert {path.name for path in Path("runs/train-1").iterdir()} == FILES


def test_own_idx_files_are_not_called_fashion_mnist(cli, idx_folder):
    _, _, err = cli("train", *QUICK, "--data", idx_folder)
    assert "not the official Fashion-MNIST files" in err
    assert "'own'" in err


def test_json_is_one_document_with_the_metrics(cli, idx_folder):
    document = cli.json("train", *QUICK, "--data", idx_folder, "--out", "r")
    assert document["run"] == "r"
    assert document["test"]["n"] == 100
    assert document["summary"]["epochs"] == 2


def test_flags_and_environment_variables_reach_the_run(cli, idx_folder, monkeypatch):
    monkeypatch.setenv("FASHIONCNN_DATA", str(idx_folder))
    monkeypatch.setenv("FASHIONCNN_SEED", "9")
    cli.ok("train", *QUICK, "--out", "r")
    assert "seed = 9" in Path("r/config.toml").read_text()
    cli.ok("train", *QUICK, "--seed", "7", "--out", "s")
    assert "seed = 7" in Path("s/config.toml").read_text()


def test_one_set_takes_several_assignments(cli, idx_folder):
    assignments = ["--set", "training.seed=5", "training.label_smoothing=0.25"]
    cli.ok("train", *QUICK, *assignments, "--data", idx_folder, "--out", "r")
    config = Path("r/config.toml").read_text()
    assert "seed = 5" in config
    assert "label_smoothing = 0.25" in config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.track_test=false"], "no split was evaluated, because this recipe trains on"),
        (["training.track_test=false", "data.validation=50"], "the test split was not evaluated"),
        ([], None),
    ],
)
def test_splits_that_were_not_evaluated_are_reported(cli, idx_folder, settings, message):
    arguments = [x for assignment in settings for x in ("--set", assignment)]
    _, _, err = cli("train", *QUICK, *arguments, "--data", idx_folder, "--out", "a b")
    last = err.splitlines()[-1]
    assert last.startswith(message or "report: ")
    assert ("fashioncnn evaluate 'a b'" in last) == bool(message)


def test_data_without_any_split_to_evaluate_is_reported(cli, idx_folder):
    for path in idx_folder.glob("t10k*"):
        path.unlink()
    _, _, err = cli("train", *QUICK, "--no-track-test", "--data", idx_folder)
    assert "no split was evaluated: the data has no test split" in err


def test_out_is_never_overwritten(cli, trained):
    config = Path(trained, "config.toml").read_bytes()
    message = cli.fails(2, "train", *QUICK, "--data", "sketches", "--out", trained)
    assert message == (
        "fashioncnn: --out run: not empty; name a new folder, or resume it with --resume run"
    )
    assert Path(trained, "config.toml").read_bytes() == config


def test_one_of_two_processes_with_the_same_folder_gets_one_line(cli, idx_folder, monkeypatch):
    """The other process creates the run after this one has checked the folder."""
    from fashioncnn.training import run

    arguments = ["train", *QUICK, "--data", str(idx_folder), "--out", "r"]
    write = run.write_start

    def write_after_the_other(*options):
        monkeypatch.setattr(run, "write_start", write)
        assert cli(*arguments, "--seed", "1")[0] == 0
        write(*options)

    monkeypatch.setattr(run, "write_start", write_after_the_other)
    message = cli.fails(2, *arguments, "--seed", "2")
    assert message.endswith("--out r: not empty; name a new folder, or resume it with --resume r")
    assert "seed = 1" in Path("r/config.toml").read_text()
    cli.ok("evaluate", "r")


def test_hidden_temporary_files_do_not_make_a_folder_occupied(cli, idx_folder):
    """A process was killed while it wrote config.toml."""
    Path("r").mkdir()
    Path("r/.config.toml.0123abcd.tmp").write_text("[trai")
    cli.ok("train", *QUICK, "--data", idx_folder, "--out", "r")
    assert not list(Path().rglob(".*"))


@pytest.mark.parametrize("name", ["history.jsonl", "report.html", "model/config.json"])
def test_full_disk_is_reported_with_the_file_and_how_to_resume(cli, idx_folder, monkeypatch, name):
    replace = Path.replace

    def fail(self, target):
        if target == Path("r", name):
            raise OSError(28, "No space left on device")
        return replace(self, target)

    if name == "report.html":
        stub = "fashioncnn.cli.train_run.write_run_report"
        monkeypatch.setattr(stub, lambda run, splits: write_atomic(run.report, b""))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        message = cli.fails(1, "train", *QUICK, "--data", idx_folder, "--out", "r")
    assert message == (
        f"fashioncnn: r/{name}: cannot be written (No space left on device); free some space and "
        "continue with --resume r"
    )
    cli.ok("train", "--resume", "r")
    assert Path("r/report.html").exists()
    assert not list(Path("r").rglob(".*"))


def test_out_that_is_not_a_run_is_not_offered_for_resuming(cli, tmp_path):
    (tmp_path / "file").touch()
    message = cli.fails(2, "train", *QUICK, "--data", "sketches", "--out", tmp_path)
    assert message.endswith("not empty; name a new folder")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--offline"], 1, "--data sketches"),
        (["--data", "sketches", "--set", "model.hiden=3"], 2, "did you mean 'model.hidden'"),
        (["--data", "sketches", "--image-size", "32"], 2, "only images of class folders"),
        (["--data", "sketches", "--device", "cuda:7"], 2, "no such GPU"),
        (["--data", "sketches", "--set", "distillation.teachers=nothing"], 2, "no such run or mod"),
    ],
    ids=command_id,
)
def test_errors_before_training_leave_no_run_folder(cli, arguments, code, message):
    assert message in cli.fails(code, "train", *arguments)
    assert not Path("runs").exists()


def test_divergence_is_exit_code_1(cli, idx_folder):
    sgd = ["--set", "optimizer.name=sgd", "--learning-rate", "1e12", "--epochs", "40"]
    message = cli.fails(1, "train", *NO_EPOCHS, *sgd, "--data", idx_folder)
    assert "lower --learning-rate" in message


def test_running_out_of_memory_is_one_line(cli, idx_folder, monkeypatch):
    def fail(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("fashioncnn.training.run.fit", fail)
    message = cli.fails(1, "train", *QUICK, "--data", idx_folder, "--out", "r")
    assert message.endswith("not enough memory on cpu; try a smaller --batch-size")


def test_a_missing_extra_is_one_line_with_a_command(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cli.fails(1, "train", "--data", "sketches") == (
        "fashioncnn: torch is not installed; in a checkout of fashioncnn, run: "
        "pip install '.[train]'"
    )


@pytest.mark.usefixtures("no_compiler")
def test_missing_compiler_is_reported_unless_torch_kernels_were_requested(cli, idx_folder):
    arguments = ["train", *QUICK, "--data", idx_folder]
    _, _, automatic = cli(*arguments, "--kernels", "auto", "--out", "r")
    _, _, requested = cli(*arguments, "--kernels", "torch", "--out", "s")
    assert "PyTorch's kernels, which are slower than the native ones: no C compiler" in automatic
    assert "slower" not in requested
    native = cli.fails(2, *arguments, "--kernels", "native")
    assert native == "fashioncnn: kernels = native: no C compiler; try --kernels torch"


def test_class_folders_train_end_to_end(cli, tmp_path):
    fill(tmp_path / "animals", ["ant", "bee"], n=30)
    options = ["--image-size", "16", "--class-weights", "auto"]
    document = cli.json("train", *QUICK, *options, "--data", tmp_path / "animals", "--out", "r")
    assert document["test"]["dataset"] == "animals"
    assert json.loads(Path("r/model/config.json").read_text())["labels"] == ["ant", "bee"]
    image = next((tmp_path / "animals" / "bee").iterdir())
    predictions = cli.json("predict", image, "--model", "r")["predictions"]
    assert {c["name"] for c in predictions[0]["top"]} == {"ant", "bee"}


@pytest.mark.usefixtures("with_report")
def test_class_names_with_formulas_are_drawn(cli, tmp_path):
    fill(tmp_path / "own", ["$\\frac$", "日本語"], n=12)
    cli.ok("train", *QUICK, "--data", tmp_path / "own", "--out", "r")
    assert Path("r/confusion_matrix.png").exists()


def test_teachers_of_other_classes_are_rejected_before_anything_is_written(cli, tmp_path):
    fill(tmp_path / "own", ["ant", "bee"])
    data = "--data", tmp_path / "own", "--set", "distillation.teachers=accurate"
    assert "its classes (ant, bee" in cli.fails(1, "train", *QUICK, *data, "--out", "r")
    assert not Path("r").exists()


def test_a_finished_run_can_be_a_teacher(cli, idx_folder, trained):
    arguments = "--data", idx_folder, "--set", f"distillation.teachers={trained}"
    _, _, err = cli("train", *QUICK, *arguments, "--validation", "50", "--out", "r")
    assert f"2 epochs, teachers {Path(trained).resolve()}, cpu" in err
    assert "makes the validation metrics look better than they are" in err
    assert f'"{Path(trained).resolve()}"' in Path("r/config.toml").read_text()


@pytest.mark.parametrize("setting", ["distillation.epochs=3", "distillation.alpha=0.5"])
def test_distillation_settings_without_teachers_are_rejected(cli, setting):
    message = cli.fails(2, "train", *QUICK, "--data", "sketches", "--set", setting)
    assert f"--set {setting.split('=')[0]}: has no effect without teachers" in message


def test_config_of_a_run_is_a_recipe_for_another(cli, trained):
    cli.ok("train", f"{trained}/config.toml", "--out", "again")
    assert Path("again/model/model.safetensors").exists()


def test_early_stop_is_reported_and_resuming_does_nothing(cli, idx_folder, monkeypatch):
    losses = iter([0.5, 0.6, 0.7])
    monkeypatch.setattr("fashioncnn.training.callbacks.cross_entropy", lambda *_: next(losses))
    patience = ["--patience", "1", "--validation", "50", "--no-track-test", "--epochs", "5"]
    _, out, err = cli("train", *NO_EPOCHS, *patience, "--data", idx_folder, "--out", "r")
    reason = "no better validation loss for 1 epoch"
    assert f"stopped early after 2 of 5 epochs: {reason}; the last weights are kept" in err
    assert any(
        line.split() == ["Stopped", "early", "2", *reason.split()] for line in out.splitlines()
    )
    for more in ([], ["--epochs", "9"]):
        code, _, err = cli("train", "--resume", "r", *more)
        assert code == 0
        assert f"r: already finished (stopped early: {reason}); nothing to do" in err


def test_patience_without_a_validation_split_is_rejected(cli):
    message = cli.fails(2, "train", *QUICK, "--patience", "5", "--data", "sketches")
    assert "patience = 5: early stopping needs a validation split" in message
    assert not Path("runs").exists()


def test_patience_with_a_decaying_learning_rate_is_noted(cli, idx_folder):
    decay = ["--patience", "5", "--validation", "50", "--set", "schedule.name=linear"]
    _, _, err = cli("train", *QUICK, *decay, "--data", idx_folder)
    assert "patience: the learning rate decays over all 2 epochs; where training stops" in err
    assert "patience = 5: has no effect in 2 epochs" in err


def test_patience_that_can_end_a_training_is_not_noted(cli, idx_folder):
    patience = ["--patience", "1", "--validation", "50"]
    _, _, err = cli("train", *QUICK, *patience, "--data", idx_folder)
    assert "has no effect" not in err


def test_loss_that_explodes_is_reported(cli, idx_folder):
    code, _, err = cli("train", *QUICK, "--learning-rate", "3", "--data", idx_folder)
    assert code == 0
    assert "training diverges; try a lower learning rate" in err


def test_modified_training_data_is_named(cli, idx_folder):
    options = ["--fraction", "0.5", "--label-noise", "0.25", "--fold", "2/3"]
    _, out, err = cli("train", *QUICK, *options, "--data", idx_folder, "--out", "r")
    name = "own, 50% of the training images, 25% label noise"
    assert f"baseline on {name}: 100 images, 2 epochs" in err
    assert name in out.split("Per-class performance")[0]
    metrics = cli.json("evaluate", "r", "--split", "validation")
    assert (metrics["dataset"], metrics["n"]) == ("own", 100)
    assert cli.json("evaluate", "r")["dataset"] == "own"


def test_fold_and_size_of_the_validation_split_are_rejected(cli):
    options = ["--fold", "1/5", "--validation", "20", "--data", "sketches"]
    assert cli.fails(2, "train", *QUICK, *options) == (
        "fashioncnn: --validation: the fold 1/5 is the validation split (data.fold); give only one "
        "of them"
    )
