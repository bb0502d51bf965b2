import json
from pathlib import Path

import pytest
import torch

from fashioncnn import kernels
from fashioncnn.kernels import build
from fashioncnn.models.trained_model import load_model
from fashioncnn.training.state import TrainState

from ..data.test_class_folders import fill
from .conftest import NO_EPOCHS, PLACE, QUICK


def weights(run):
    return (Path(run) / "model" / "model.safetensors").read_bytes()


def test_train_prints_the_summary_and_where_the_report_lies(cli, idx_folder):
    code, out, err = cli("train", *QUICK, "--data", idx_folder)
    assert code == 0
    for title in ("Performance summary", "Per-class performance", "Most confused pairs"):
        assert title in out
    assert "report: runs/train-1/report.html" in err
    assert "epoch 2/2" in err
    names = {p.name for p in Path("runs/train-1").iterdir()}
    assert names == {
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


def test_own_data_is_never_called_fashion_mnist(cli, idx_folder):
    _, _, err = cli("train", *QUICK, "--data", idx_folder)
    assert "not the official Fashion-MNIST files, loaded as 'own'" in err


def test_json_is_one_document_with_the_metrics(cli, idx_folder):
    document = cli.json("train", *QUICK, "--data", idx_folder, "--out", "r")
    assert document["run"] == "r"
    assert document["test"]["n"] == 100
    assert document["summary"]["epochs"] == 2


def test_seed_and_settings_reach_the_run(cli, idx_folder):
    cli.ok("train", *QUICK, "--data", idx_folder, "--seed", "7", "--out", "r")
    assert "seed = 7" in Path("r/config.toml").read_text()


def test_environment_variable_sets_what_no_flag_does(cli, idx_folder, monkeypatch):
    monkeypatch.setenv("FASHIONCNN_SEED", "9")
    monkeypatch.setenv("FASHIONCNN_DATA", str(idx_folder))
    cli.ok("train", *QUICK, "--out", "r")
    assert "seed = 9" in Path("r/config.toml").read_text()


def test_out_never_overwrites(cli, idx_folder, trained):
    before = weights(trained)
    line = cli.fails(2, "train", *QUICK, "--data", idx_folder, "--out", trained)
    assert "--resume run" in line
    assert weights(trained) == before


def test_no_data_leaves_no_run_folder(cli):
    line = cli.fails(1, "train", "--offline")
    assert "--data sketches" in line
    assert not Path("runs").exists()


def test_wrong_settings_leave_no_run_folder(cli, idx_folder):
    line = cli.fails(2, "train", "--data", idx_folder, "--set", "model.hiden=3")
    assert "did you mean 'model.hidden'" in line
    assert not Path("runs").exists()


def test_image_size_is_for_class_folders_alone(cli, idx_folder):
    line = cli.fails(2, "train", "--data", idx_folder, "--image-size", "32")
    assert "image_size = 32: only images of class folders are resized" in line


def test_a_device_that_is_not_there(cli, idx_folder):
    assert "no such GPU" in cli.fails(2, "train", "--data", idx_folder, "--device", "cuda:7")


def test_divergence_is_exit_code_1(cli, idx_folder):
    line = cli.fails(
        1,
        "train",
        *NO_EPOCHS,
        "--data",
        idx_folder,
        "--set",
        "optimizer.name=sgd",
        "--learning-rate",
        "1e12",
        "--epochs",
        "40",
    )
    assert "lower --learning-rate" in line


def test_resume_of_a_finished_run_says_so(cli, trained):
    before = weights(trained)
    code, out, err = cli("train", "--resume", trained)
    assert (code, out) == (0, "")
    assert "is finished (2 epochs)" in err
    document = cli.json("train", "--resume", trained)
    assert document["test"]["n"] == 100
    assert weights(trained) == before


def test_resume_before_the_first_checkpoint(cli, trained):
    expected = weights(trained)
    for path in Path(trained).iterdir():
        if path.name != "config.toml":
            remove(path)
    cli.ok("train", "--resume", trained)
    assert weights(trained) == expected


def remove(path):
    for inner in path.iterdir() if path.is_dir() else ():
        remove(inner)
    path.rmdir() if path.is_dir() else path.unlink()


def test_resume_with_more_epochs_equals_training_so_long_at_once(cli, idx_folder, trained):
    cli.ok("train", "--resume", trained, "--epochs", "4")
    cli.ok("train", *NO_EPOCHS, "--data", idx_folder, "--epochs", "4", "--out", "whole")
    assert weights(trained) == weights("whole")
    assert len(Path(trained, "history.jsonl").read_text().splitlines()) == 4


def test_resume_with_fewer_epochs_is_refused(cli, trained):
    assert "only more can follow" in cli.fails(2, "train", "--resume", trained, "--epochs", "1")


@pytest.mark.parametrize("data", ["nowhere", "sketches"])
def test_an_extension_that_fails_leaves_the_run_as_it_was(cli, trained, data):
    before = {p: p.read_bytes() for p in Path(trained).glob("*.*")}
    code, _, _ = cli("train", "--resume", trained, "--epochs", "4", "--data", data)
    assert code in (1, 2)
    assert {p: p.read_bytes() for p in Path(trained).glob("*.*")} == before


def test_a_decaying_learning_rate_cannot_be_extended(cli, idx_folder):
    cli.ok("train", *QUICK, "--data", idx_folder, "--set", "schedule.name=linear", "--out", "r")
    before = Path("r/metrics.json").read_bytes()
    assert "--from r" in cli.fails(2, "train", "--resume", "r", "--epochs", "4")
    assert Path("r/metrics.json").read_bytes() == before


@pytest.mark.parametrize("flag", [["--seed", "3"], ["--out", "x"], ["--set", "a.b=1"]], ids=str)
def test_resume_takes_no_other_settings(cli, trained, flag):
    assert "--from run" in cli.fails(2, "train", "--resume", trained, *flag)


def test_resume_where_the_kernels_cannot_be_had(cli, trained, monkeypatch, tmp_path):
    """On another machine, say, without a compiler: it goes on, and says what differs."""
    if kernels.unavailable_reason():
        pytest.skip("no compiled kernels here")
    assert 'kernels = "native"' in Path(trained, "config.toml").read_text()
    build._load_once.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("FASHIONCNN_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    code, _, err = cli("train", "--resume", trained, "--epochs", "3")
    build._load_once.cache_clear()
    assert code == 0, err
    assert "goes on without" in err
    assert "no C compiler" in err
    assert 'kernels = "torch"' in Path(trained, "config.toml").read_text()


def test_resume_of_a_run_from_before_there_were_kernels(cli, trained):
    config = Path(trained, "config.toml")
    lines = [line for line in config.read_text().splitlines() if "kernels" not in line]
    config.write_text("\n".join(lines) + "\n")
    cli.ok("train", "--resume", trained, "--epochs", "3")
    assert 'kernels = "torch"' in config.read_text()


def test_without_a_compiler_it_says_what_is_missing(cli, idx_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("FASHIONCNN_HOME", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    build._load_once.cache_clear()
    _, _, err = cli("train", *QUICK, "--data", idx_folder, "--out", "r")
    assert "PyTorch's kernels, slower" in err
    _, _, err = cli("train", *QUICK, "--data", idx_folder, "--out", "s", "--kernels", "torch")
    assert "slower" not in err
    refused = cli.fails(2, "train", *QUICK, "--data", idx_folder, "--kernels", "native")
    build._load_once.cache_clear()
    assert "kernels = native" in refused
    assert "--kernels torch" in refused


def test_resume_of_what_is_no_run(cli, tmp_path):
    assert "no such run folder" in cli.fails(2, "train", "--resume", "nowhere")
    assert "not a run folder" in cli.fails(2, "train", "--resume", tmp_path)


def test_from_begins_a_new_run_with_old_weights(cli, idx_folder, trained):
    cli.ok(
        "train",
        *PLACE,
        "--epochs",
        "2",
        "--data",
        idx_folder,
        "--from",
        trained,
        "--learning-rate",
        "1e-12",
        "--out",
        "r",
    )
    old, new = load_model(Path(trained)), load_model(Path("r"))
    assert new.config == old.config
    difference = (new.network.output.weight - old.network.output.weight).abs().max()
    assert 0 <= difference < 1e-6


@pytest.mark.parametrize("told", ["model.hidden=3", "data.scaling=unit", "data.views=photo"])
@pytest.mark.parametrize("way", ["--set", "--config", "environment"])
def test_from_takes_no_other_network(cli, idx_folder, trained, monkeypatch, told, way):
    key, value = told.split("=")
    arguments = ["train", "--data", idx_folder, "--from", trained]
    if way == "environment":
        monkeypatch.setenv(f"FASHIONCNN_{key.upper().replace('.', '__')}", value)
    elif way == "--config":
        section, name = key.split(".")
        Path("c.toml").write_text(
            f"[{section}]\n{name} = {value if value == '3' else repr(value)}\n"
        )
        arguments += ["--config", "c.toml"]
    else:
        arguments += ["--set", told]
    assert "those of the weights" in cli.fails(2, *arguments)


def test_too_little_memory_is_one_line(cli, idx_folder, monkeypatch):
    def fail(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TrainState, "learn", fail)
    line = cli.fails(1, "train", *QUICK, "--data", idx_folder, "--out", "r")
    assert line == (
        "fashioncnn: a network that learns batches of 32: not enough memory on cpu; "
        "try a smaller --batch-size"
    )


def test_names_with_formulas_do_no_harm(cli, tmp_path):
    fill(tmp_path / "own", ["$\\frac$", "日本語"], n=12)
    cli.ok("train", *QUICK, "--data", tmp_path / "own", "--out", "r")
    assert Path("r/confusion_matrix.png").exists()


def test_from_of_other_classes_is_refused(cli, trained, tmp_path):
    fill(tmp_path / "animals", ["ant", "bee"])
    line = cli.fails(1, "train", *PLACE, "--data", tmp_path / "animals", "--from", trained)
    assert "classes" in line


def test_class_folders_train_end_to_end(cli, tmp_path):
    fill(tmp_path / "animals", ["ant", "bee"], n=30)
    document = cli.json(
        "train",
        *QUICK,
        "--data",
        tmp_path / "animals",
        "--image-size",
        "16",
        "--class-weights",
        "auto",
        "--out",
        "r",
    )
    assert document["test"]["dataset"] == "animals"
    assert json.loads(Path("r/model/config.json").read_text())["labels"] == ["ant", "bee"]
    image = next((tmp_path / "animals" / "bee").iterdir())
    answer = cli.json("predict", image, "--model", "r")
    assert {c["name"] for c in answer["predictions"][0]["top"]} == {"ant", "bee"}


@pytest.mark.parametrize("gone", ["model/config.json", "model/model.safetensors", "metrics.json"])
def test_a_finished_run_that_lost_a_part_gets_it_back(cli, trained, gone):
    before = weights(trained)
    path = Path(trained) / gone
    if gone == "metrics.json":
        path.write_text("{")
    else:
        path.unlink()
    _, _, err = cli("train", "--resume", trained)
    assert "not whole any more" in err
    assert weights(trained) == before
    assert "nothing to do" in cli("train", "--resume", trained)[2]


def test_a_finished_run_of_a_later_version_is_left_alone(cli, trained):
    metrics = Path(trained, "metrics.json")
    later = metrics.read_text().replace('"schema": 1', '"schema": 2')
    metrics.write_text(later)
    assert "of another version" in cli.fails(1, "train", "--resume", trained)
    assert metrics.read_text() == later


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("nothing", "nothing: no such run or model folder"),
        ("accurate", "its classes (ant, bee"),
        ("[]", None),
    ],
)
def test_who_cannot_teach_is_refused_before_anything_is_written(cli, tmp_path, model, told):
    fill(tmp_path / "own", ["ant", "bee"])
    given = "train", *QUICK, "--data", tmp_path / "own", "--set", f"distillation.teachers={model}"
    if told is None:
        cli.ok(*given, "--out", "r")
        return
    assert told in cli.fails(1 if model == "accurate" else 2, *given, "--out", "r")
    assert not Path("r").exists()


def test_a_finished_run_can_teach(cli, idx_folder):
    given = "train", *QUICK, "--data", idx_folder
    cli.ok(*given, "--out", "first")
    again = "--validation", "50", "--out", "second"
    _, _, err = cli(*given, *again, "--set", "distillation.teachers=first")
    assert f"2 epochs, taught by {Path('first').resolve()}, cpu" in err
    assert "validation looks better than it is" in err
    assert f'"{Path("first").resolve()}"' in Path("second/config.toml").read_text()


@pytest.mark.parametrize("told", ["distillation.epochs=3", "distillation.alpha=0.5"])
def test_what_is_set_of_teachers_wants_some(cli, told):
    line = cli.fails(2, "train", *QUICK, "--data", "sketches", "--set", told)
    assert f"--set {told.split('=')[0]}: there are no teachers" in line


def test_a_runs_own_settings_begin_another(cli, trained, idx_folder):
    cli.ok("train", "--config", f"{trained}/config.toml", "--out", "again")


def test_a_run_may_go_on_on_another_device(cli, trained):
    config = Path(trained, "config.toml")
    config.write_text(config.read_text().replace('device = "cpu"', 'device = "cuda:7"'))
    Path(trained, "metrics.json").unlink()
    assert "try --device cpu" in cli.fails(2, "train", "--resume", trained)
    cli.ok("train", "--resume", trained, "--device", "cpu")


def test_a_refused_extension_leaves_a_taught_run_finished(cli, idx_folder):
    taught = "--set", "distillation.ensemble_size=1", "--set", "distillation.epochs=1"
    cli.ok("train", *QUICK, *taught, "--data", idx_folder, "--out", "r")
    cli.ok("train", "--resume", "r/teachers/1", "--epochs", "3")
    metrics = Path("r/metrics.json").read_bytes()
    assert "was begun for 3 epochs, not 1" in cli.fails(
        1, "train", "--resume", "r", "--epochs", "4"
    )
    assert Path("r/metrics.json").read_bytes() == metrics
    assert "nothing to do" in cli("train", "--resume", "r")[2]


def test_a_folder_that_is_no_run_is_not_gone_on_with(cli, tmp_path):
    fill(tmp_path / "own", ["ant", "bee"])
    line = cli.fails(2, "train", "--data", "sketches", "--epochs", "1", "--out", tmp_path / "own")
    assert line.endswith("already holds something; name a new folder")


def test_several_settings_behind_one_flag_are_told(cli):
    line = cli.fails(2, "train", "honest", "--set", "training.seed=1", "training.epochs=2")
    assert "training.epochs=2: not understood here; every setting needs a --set" in line
