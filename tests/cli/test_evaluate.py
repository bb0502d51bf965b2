import json
import shutil
from pathlib import Path

import pytest

from fashioncnn.models.trained_model import load_model
from fashioncnn.runs import RunFolder

from ..idx import write_idx
from .conftest import QUICK


def contents(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*.*")}


def test_metrics_equal_those_of_training(cli, trained):
    stored = json.loads(Path(trained, "metrics.json").read_text())
    assert cli.json("evaluate", trained) == stored["test"]


def test_tables_show_summary_and_metrics(cli, trained):
    out = cli.ok("evaluate", trained)
    for text in ("Best test accuracy", "chosen by looking at the test set", "Wilson", "Hardest:"):
        assert text in out


def test_a_model_folder_equals_its_run(cli, trained, idx_folder):
    metrics = cli.json("evaluate", trained)
    assert cli.json("evaluate", Path(trained, "model")) == metrics
    shutil.copytree(Path(trained, "model"), "alone")
    assert cli.json("evaluate", "alone", "--data", idx_folder) == metrics
    assert "folder of this data with --data" in cli.fails(2, "evaluate", "alone")


def test_accuracy_below_the_minimum_is_exit_code_3(cli, trained):
    code, out, err = cli("evaluate", trained, "--min-accuracy", "1", "--json")
    assert code == 3
    assert json.loads(out)["n"] == 100
    assert "is below --min-accuracy 1" in err
    assert cli("evaluate", trained, "--min-accuracy", "0")[0] == 0


@pytest.mark.parametrize("value", ["92", "-0.1", "nan"])
def test_invalid_minimum_accuracies_are_rejected(cli, value):
    assert f"--min-accuracy {value}: should be" in cli.fails(
        2, "evaluate", "run", "--min-accuracy", value
    )


def test_evaluating_the_test_split_later_updates_the_run(cli, idx_folder):
    cli.ok("train", "honest", *QUICK, "--data", idx_folder, "--out", "r")
    stored = json.loads(Path("r/metrics.json").read_text())
    assert stored["test"] is None
    metrics = cli.json("evaluate", "r")
    stored = json.loads(Path("r/metrics.json").read_text())
    assert stored["test"] == metrics
    assert stored["validation"]["n"] == 50
    assert cli.json("evaluate", "r", "--split", "validation") == stored["validation"]
    assert "test accuracy" in Path("r/report.html").read_text()
    assert "| test | 100 |" in Path("r/model/README.md").read_text()


def test_interrupted_update_of_a_run_is_repeated(cli, idx_folder, monkeypatch):
    """The process was killed after it wrote the metrics, before the report."""
    cli.ok("train", *QUICK, "--no-track-test", "--data", idx_folder, "--out", "r")
    report = "fashioncnn.reporting.report.write_run_report"
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(report, lambda run, splits: 1 / 0)
        cli("evaluate", "r")
    assert not Path("r/report.html").exists()
    cli.ok("evaluate", "r")
    assert "test accuracy" in Path("r/report.html").read_text()


def test_other_data_of_the_same_name_leaves_the_run_as_it_is(cli, trained, idx_folder):
    other = Path("elsewhere", idx_folder.name)
    other.mkdir(parents=True)
    for kind in ("images-idx3", "labels-idx1"):
        content = (idx_folder / f"train-{kind}-ubyte").read_bytes()
        for prefix in ("train", "t10k"):
            (other / f"{prefix}-{kind}-ubyte").write_bytes(content)
    before = contents(trained)
    metrics = cli.json("evaluate", trained, "--data", other)
    assert (metrics["n"], metrics["dataset"]) == (300, "own")
    assert contents(trained) == before


def test_tta_leaves_the_run_as_it_is(cli, trained):
    before = contents(trained)
    assert cli.json("evaluate", trained, "--tta", "flip")["tta"] == "flip"
    assert contents(trained) == before


def test_bf16_runs_are_evaluated_in_bf16(cli, idx_folder):
    arguments = [*QUICK, "--data", idx_folder, "--validation", "60", "--precision", "bf16"]
    cli.ok("train", *arguments, "--out", "r")
    before = contents("r")
    cli.ok("evaluate", "r")
    assert contents("r") == before


def test_runs_without_a_model_are_rejected(cli, trained):
    assert "no such run or model" in cli.fails(2, "evaluate", "nowhere")
    shutil.rmtree(Path(trained, "model"))
    assert "no model yet" in cli.fails(2, "evaluate", trained)


def test_damaged_weights_are_rejected(cli, trained):
    path = Path(trained, "model", "model.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "damaged" in cli.fails(1, "evaluate", trained)


def test_a_split_that_does_not_exist_is_rejected(cli, trained):
    message = cli.fails(1, "evaluate", trained, "--split", "validation")
    assert f"{trained}: no validation split to evaluate on" in message


def test_a_locked_run_is_rejected(cli, trained):
    with RunFolder(Path(trained)).lock():
        assert "run: another process is" in cli.fails(1, "evaluate", trained)
    cli.ok("evaluate", trained)


def test_other_data_may_be_too_small_for_a_validation_split(cli, idx_folder, small):
    cli.ok("train", *QUICK, "--data", idx_folder, "--validation", "60", "--out", "r")
    write_idx(idx_folder / "train-images-idx3-ubyte", small.train.images[:40])
    write_idx(idx_folder / "train-labels-idx1-ubyte", small.train.labels[:40])
    data = "--data", idx_folder
    assert cli.json("evaluate", "r", *data)["split"] == "test"
    assert "no validation split" in cli.fails(1, "evaluate", "r", *data, "--split", "validation")


def test_a_bundled_model_is_found_inside_a_run_folder(cli, trained, idx_folder, monkeypatch):
    monkeypatch.chdir(trained)
    assert cli.json("evaluate", "accurate", "--data", idx_folder)["parameters"] > 100_000


def test_model_card_keeps_the_teachers(cli, idx_folder, trained):
    teacher = "--set", f"distillation.teachers={trained}"
    cli.ok("train", *QUICK, "--no-track-test", *teacher, "--data", idx_folder, "--out", "r")
    card, sha256 = Path("r/model/README.md"), load_model(Path(trained)).sha256
    assert sha256 in card.read_text()
    assert "| test |" not in card.read_text()
    cli.ok("evaluate", "r")
    assert sha256 in card.read_text()
    assert "| test |" in card.read_text()
