import json
import shutil
from pathlib import Path

from fashioncnn.runs import RunFolder

from ..idx import write_idx
from .conftest import QUICK


def test_evaluate_says_what_training_said(cli, trained):
    judged = cli.json("evaluate", trained)
    metrics = json.loads(Path(trained, "metrics.json").read_text())
    assert judged == metrics["test"]


def test_tables_are_those_of_the_description(cli, trained):
    out = cli.ok("evaluate", trained)
    for text in ("Best test accuracy", "chosen by looking at the test set", "Wilson", "Hardest:"):
        assert text in out


def test_model_folder_alone_can_be_judged(cli, trained, idx_folder):
    judged = cli.json("evaluate", Path(trained, "model"), "--data", idx_folder)
    assert judged == cli.json("evaluate", trained)


def test_quality_gate(cli, trained):
    code, out, err = cli("evaluate", trained, "--min-accuracy", "1", "--json")
    assert code == 3
    assert json.loads(out)["n"] == 100
    assert "below --min-accuracy" in err
    assert cli("evaluate", trained, "--min-accuracy", "0")[0] == 0
    assert "from 0 to 1" in cli.fails(2, "evaluate", trained, "--min-accuracy", "92")


def test_evaluating_later_completes_the_run(cli, idx_folder):
    cli.ok("train", "honest", *QUICK, "--data", idx_folder, "--out", "r")
    assert json.loads(Path("r/metrics.json").read_text())["test"] is None
    judged = cli.json("evaluate", "r")
    metrics = json.loads(Path("r/metrics.json").read_text())
    assert metrics["test"] == judged
    assert metrics["validation"]["n"] == 50
    assert cli.json("evaluate", "r", "--split", "validation") == metrics["validation"]
    assert "test accuracy" in Path("r/report.html").read_text()
    assert "| test | 100 |" in Path("r/model/README.md").read_text()


def test_other_data_does_not_touch_the_run_even_under_the_same_name(cli, trained, idx_folder):
    other = Path("elsewhere", idx_folder.name)
    other.mkdir(parents=True)
    for kind in ("images-idx3", "labels-idx1"):
        content = (idx_folder / f"train-{kind}-ubyte").read_bytes()
        for part in ("train", "t10k"):
            (other / f"{part}-{kind}-ubyte").write_bytes(content)
    before = {p: p.read_bytes() for p in Path(trained).rglob("*.*")}
    judged = cli.json("evaluate", trained, "--data", other)
    assert judged["n"] == 300
    assert judged["dataset"] == "own"
    assert {p: p.read_bytes() for p in Path(trained).rglob("*.*")} == before


def test_the_model_folder_of_a_run_finds_the_run_s_data(cli, trained):
    assert cli.json("evaluate", Path(trained, "model")) == cli.json("evaluate", trained)


def test_a_model_by_itself_asks_for_its_data(cli, trained):
    shutil.copytree(Path(trained, "model"), "alone")
    assert "name its folder with --data" in cli.fails(2, "evaluate", "alone")


def test_bf16_runs_are_judged_in_bf16(cli, idx_folder):
    arguments = [*QUICK, "--data", idx_folder, "--validation", "60", "--precision", "bf16"]
    cli.ok("train", *arguments, "--out", "r")
    before = {p: p.read_bytes() for p in Path("r").rglob("*.*")}
    cli.ok("evaluate", "r")
    assert {p: p.read_bytes() for p in Path("r").rglob("*.*")} == before


def test_unfinished_and_missing_runs(cli, trained):
    assert "no such run or model" in cli.fails(2, "evaluate", "nowhere")
    for name in ("config.json", "model.safetensors", "README.md"):
        Path(trained, "model", name).unlink()
    assert "no model yet" in cli.fails(2, "evaluate", trained)


def test_damaged_weights(cli, trained):
    path = Path(trained, "model", "model.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert "damaged" in cli.fails(1, "evaluate", trained)


def test_a_part_that_the_run_lacks(cli, trained):
    assert "no validation part" in cli.fails(1, "evaluate", trained, "--split", "validation")


def test_a_run_that_another_process_holds_is_left_alone(cli, trained):
    with RunFolder(Path(trained)).lock():
        line = cli.fails(1, "evaluate", trained)
    assert line == f"fashioncnn: {trained}: another process is training or judging this run"
    cli.ok("evaluate", trained)


def test_other_data_may_be_too_few_to_hold_as_many_out(cli, idx_folder, small):
    cli.ok("train", *QUICK, "--data", idx_folder, "--validation", "60", "--out", "r")
    write_idx(idx_folder / "train-images-idx3-ubyte", small.train.images[:40])
    write_idx(idx_folder / "train-labels-idx1-ubyte", small.train.labels[:40])
    assert cli.json("evaluate", "r", "--data", idx_folder)["split"] == "test"
    cli.ok("report", "r", "--data", idx_folder)
    assert "no validation part" in cli.fails(
        1, "evaluate", "r", "--data", idx_folder, "--split", "validation"
    )


def test_a_model_that_comes_with_the_package_is_found_within_a_run(
    cli, trained, idx_folder, monkeypatch
):
    monkeypatch.chdir(trained)
    assert "its classes (0, 1, 2" in cli.fails(1, "evaluate", "accurate", "--data", idx_folder)


def test_who_taught_stays_on_the_card(cli, idx_folder):
    given = "train", *QUICK, "--data", idx_folder, "--set", "training.track_test=false"
    cli.ok(*given, "--out", "first")
    cli.ok(*given, "--set", "distillation.teachers=first", "--out", "second")
    card = Path("second/model/README.md")
    told = [line for line in card.read_text().splitlines() if "Taught" in line or "Learnt" in line]
    assert len(told) == 2
    cli.ok("evaluate", "second")
    assert "| test |" in card.read_text()
    assert all(line in card.read_text() for line in told)
