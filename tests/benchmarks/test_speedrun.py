import json
import sys

import pytest
from PIL import Image


def part_of(name, seed, accuracies, seconds=10.0):
    return {
        "name": name,
        "seed": seed,
        "date": "2026-01-02",
        "machine": {"cpu": "cpu", "cores": 2, "threads": 2, "bf16": False, "load_before": 0.0},
        "command": "a command",
        "setup_seconds": 1.0,
        "points": [
            {"epoch": at, "train_seconds": seconds * at, "test_accuracy": accuracy}
            for at, accuracy in enumerate(accuracies, 1)
        ],
    }


def test_time_is_that_of_the_first_epoch_that_reached_it():
    import speedrun

    part = part_of("keras", 0, [0.85, 0.905, 0.89, 0.91])
    assert speedrun.seconds_to(part, 0.90) == 20.0
    assert speedrun.seconds_to(part, 0.92) is None


def test_the_table_has_medians_over_seeds_and_ours_first():
    import speedrun

    parts = {
        "keras/seed0": part_of("keras", 0, [0.89, 0.925]),
        "ours-baseline/seed0": part_of("ours-baseline", 0, [0.905], 5.0),
        "ours-baseline/seed1": part_of("ours-baseline", 1, [0.895], 7.0),
    }
    rows = [r for r in speedrun.to_markdown(parts, "2026-01-02").splitlines() if r[:1] == "|"][2:]
    assert rows[0] == (
        "| ours-baseline | 2 | 1.0 | 6.0 |  | 90.00 ± 0.71% | 6.0 | 5.0 (1 of 2) | – | – | – "
        "| – | – |"
    )
    assert rows[1].startswith("| keras | 1 | 1.0 | 20.0 |  | 92.50% | 10.0 | 20.0 | 20.0 | 20.0 |")


def test_parts_that_are_there_are_not_measured_again(tmp_path, monkeypatch, capsys):
    import speedrun

    calls = []

    def measure(name, options, seed):
        calls.append(f"{name}/seed{seed}")
        return part_of(name, seed, [0.9])

    monkeypatch.setattr(speedrun, "measure", measure)
    monkeypatch.setenv("FASHIONCNN_DATA", str(tmp_path))
    places = ["--results", str(tmp_path), "--image", str(tmp_path / "p.png")]

    def call(*arguments):
        calls.clear()
        monkeypatch.setattr(sys, "argv", ["speedrun.py", *places, *arguments])
        speedrun.main()
        return list(calls)

    assert call("--only", "keras", "--date", "d") == ["keras/seed0"]
    assert call("--only", "keras", "ours-honest", "--date", "d") == ["ours-honest/seed0"]
    assert call("--only", "keras", "--date", "d", "--again") == ["keras/seed0"]
    kept = json.loads((tmp_path / "speedrun-d.json").read_text())["parts"]
    assert set(kept) == {"keras/seed0", "ours-honest/seed0"}
    assert "| keras |" in capsys.readouterr().out
    with Image.open(tmp_path / "p.png") as image:
        assert image.width > 1000


def test_an_unknown_name_is_refused_with_the_known_ones():
    import speedrun

    with pytest.raises(SystemExit, match=r"ours-baseline, .*keras"):
        speedrun.choose_names(["kears"])


def test_ours_is_read_from_its_run_folder(idx_folder, monkeypatch):
    import argparse

    import speedrun

    monkeypatch.setenv("FASHIONCNN_DATA", str(idx_folder))
    monkeypatch.setenv("FASHIONCNN_MODEL__HIDDEN", "8")
    part = speedrun.our_epochs("baseline", argparse.Namespace(threads=1, epochs=2), 0)
    assert [p["epoch"] for p in part["points"]] == [1, 2]
    first, second = part["points"]
    assert 0 < first["train_seconds"] < second["train_seconds"]
    assert 0 <= second["test_accuracy"] <= 1
    assert part["setup_seconds"] > 0
