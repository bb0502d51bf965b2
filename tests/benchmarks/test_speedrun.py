import argparse
import json

import pytest
from PIL import Image

import common
import speedrun
import speedrun_report


def run_of(name, seed, accuracies, seconds=10.0):
    return {
        "name": name,
        "seed": seed,
        "date": "2026-01-02",
        "machine": {"cpu": "cpu", "cores": 2, "threads": 2, "bf16": False, "load_before": 0.0},
        "command": "a command",
        "setup_seconds": 1.0,
        "points": [
            {"epoch": epoch, "train_seconds": seconds * epoch, "test_accuracy": accuracy}
            for epoch, accuracy in enumerate(accuracies, 1)
        ],
    }


def test_time_is_that_of_the_first_epoch_that_reaches_the_accuracy():
    run = run_of("keras", 0, [0.85, 0.905, 0.89, 0.91])
    assert speedrun_report.seconds_to(run, 0.90) == 20.0
    assert speedrun_report.seconds_to(run, 0.92) is None


def test_table_has_medians_over_seeds_and_ours_first():
    runs = {
        "keras/seed0": run_of("keras", 0, [0.89, 0.925]),
        "ours-baseline/seed0": run_of("ours-baseline", 0, [0.905], 5.0),
        "ours-baseline/seed1": run_of("ours-baseline", 1, [0.895], 7.0),
    }
    table = speedrun_report.to_markdown(runs, "2026-01-02")
    rows = [line for line in table.splitlines() if line[:1] == "|"][2:]
    assert rows[0] == (
        "| ours-baseline | 2 | 1.0 | 6.0 |  | 90.00 ± 0.71% | 6.0 | 5.0 (1 of 2) | – | – | – "
        "| – | – |"
    )
    assert rows[1].startswith("| keras | 1 | 1.0 | 20.0 |  | 92.50% | 10.0 | 20.0 | 20.0 | 20.0 |")


def test_evaluation_is_per_epoch_or_per_model():
    epochs, models = (run_of(name, 0, [0.8, 0.9]) for name in ("keras", "sklearn"))
    for run in (epochs, models):
        run["points"][-1]["test_seconds"] = 6.0
    models["points"][-1]["images"] = 60_000
    table = speedrun_report.to_markdown({"a": epochs, "b": models}, "2026-01-02")
    assert "| keras | 1 | 1.0 | 20.0 | 3.0 |" in table
    assert "| sklearn | 1 | 1.0 | 20.0 | 6.0 |" in table


def test_recorded_runs_are_not_repeated(tmp_path, monkeypatch, call):
    measured = []

    def measure(name, options, seed):
        measured.append(f"{name}/seed{seed}")
        return run_of(name, seed, [0.9])

    monkeypatch.setattr(speedrun, "measure", measure)
    monkeypatch.setenv("FASHIONCNN_DATA", str(tmp_path))
    image = tmp_path / "figure.png"

    def measured_by(*arguments):
        measured.clear()
        call(speedrun, "--results", tmp_path, "--image", image, "--date", "d", *arguments)
        return list(measured)

    assert measured_by("--only", "keras") == ["keras/seed0"]
    assert measured_by("--only", "keras", "ours-honest") == ["ours-honest/seed0"]
    assert measured_by("--only", "keras", "--again") == ["keras/seed0"]
    assert measured_by("--table") == []
    recorded = common.read_result(tmp_path / "speedrun-d.json")["runs"]
    assert set(recorded) == {"keras/seed0", "ours-honest/seed0"}
    assert "| keras |" in (tmp_path / "speedrun-d.md").read_text()
    with Image.open(image) as figure:
        assert figure.width > 1000


def test_table_of_recorded_runs_is_rewritten(call, tmp_path):
    recorded = common.RESULTS / "speedrun-2026-11-23.json"
    (tmp_path / recorded.name).write_bytes(recorded.read_bytes())
    places = "--results", tmp_path, "--image", tmp_path / "figure.png"
    table = call(speedrun, *places, "--date", "2026-11-23", "--table")
    assert "| sklearn-pca-svc | 1 | 2.2 | 66.2 | 15.4 | 89.62% |" in table
    written = (tmp_path / recorded.name).with_suffix(".md").read_text()
    assert written == recorded.with_suffix(".md").read_text()


def test_nothing_to_show_is_reported(call, tmp_path):
    with pytest.raises(SystemExit, match="no runs to show"):
        call(speedrun, "--results", tmp_path, "--table")


def test_unknown_name_is_rejected_with_the_known_ones():
    with pytest.raises(SystemExit, match=r"--only kears: must be one of .*ours-baseline, .*keras"):
        speedrun.choose_names(["kears"])


def test_other_epochs_and_threads_are_other_runs(monkeypatch):
    monkeypatch.setattr(speedrun, "available_cores", lambda: 2)
    options = argparse.Namespace(epochs=None, threads=2)
    assert speedrun.run_key("keras", 1, options) == "keras/seed1"
    options = argparse.Namespace(epochs=3, threads=1)
    assert speedrun.run_key("keras", 1, options) == "keras/seed1/3epochs/1threads"


def test_our_epochs_are_read_from_the_run_folder(tiny_training, monkeypatch, cli):
    monkeypatch.setattr(speedrun, "run_command", lambda command: cli(*command[3:]))
    run = speedrun.measure("ours-baseline", argparse.Namespace(threads=1, epochs=2), 0)
    first, second = run["points"]
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert 0 < first["train_seconds"] < second["train_seconds"]
    assert 0 <= second["test_accuracy"] <= 1
    assert run["setup_seconds"] > 0
    assert run["command"].startswith("fashioncnn train baseline --seed 0 --threads 1 --track-test")


def test_epochs_of_a_peer_are_its_messages(monkeypatch):
    messages = [
        {"epoch": 1, "setup_seconds": 2.5, "train_seconds": 3.0, "test_accuracy": 0.8},
        {"epoch": 2, "setup_seconds": 2.5, "train_seconds": 6.0, "test_accuracy": 0.9},
    ]
    lines = "\n".join(map(json.dumps, messages))
    monkeypatch.setattr(speedrun, "run_command", lambda _: lines)
    monkeypatch.setattr(speedrun.IMPLEMENTATIONS["keras"].__class__, "prepare", lambda _: None)
    options = argparse.Namespace(threads=1, epochs=2, only=None)
    run = speedrun.run_peer("keras", options, 0)
    assert run["setup_seconds"] == 2.5
    assert run["points"][1] == {"epoch": 2, "train_seconds": 6.0, "test_accuracy": 0.9}
    assert run["command"] == (
        "python benchmarks/peers/keras_tensorflow.py accuracy --threads 1 --seed 0 --epochs 2"
    )
