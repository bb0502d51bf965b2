import argparse
import json

import pytest

import common
import tuning_gain
import tuning_overhead


@pytest.fixture
def folder(tmp_path):
    """A search with two trials of 10 s, 0.5 s between them, and one that was killed."""
    entries = [
        {"op_code": 0},
        {"op_code": 8, "trial_id": 0, "user_attr": {"seconds": 10.0}},
        {"op_code": 6, "trial_id": 0, "datetime_complete": "2026-01-02T00:00:10+00:00"},
        {"op_code": 6, "trial_id": 1, "datetime_complete": "2026-01-02T00:00:15+00:00"},
        {"op_code": 8, "trial_id": 2, "user_attr": {"again_of": 1}},
        {"op_code": 8, "trial_id": 2, "user_attr": {"seconds": 10.0}},
        {"op_code": 6, "trial_id": 2, "datetime_complete": "2026-01-02T00:00:20.500000+00:00"},
    ]
    lines = [json.dumps(entry) + "\n" for entry in entries]
    (tmp_path / "journal.log").write_text("".join(lines) + '{"op_code": 8, "tri')
    return tmp_path


def test_overhead_is_the_time_between_trials_without_training(folder):
    assert tuning_overhead.overhead_seconds(folder) == pytest.approx([0.5])


def test_rate_counts_trials_from_the_first_training_to_the_last_end(folder):
    assert tuning_overhead.trials_per_hour(folder) == pytest.approx(3600 * 2 / 20.5)


def test_seconds_of_training_include_interrupted_trials(folder, tmp_path):
    assert tuning_overhead.training_seconds(folder) == {0: 10, 2: 10}
    with (folder / "journal.log").open("w") as file:
        file.write('{"op_code": 8, "trial_id": 3, "user_attr": {"seconds": 4.0}}\n')
    assert tuning_overhead.training_seconds(folder) == {3: 4}
    assert tuning_overhead.completed_trials(folder) == []
    assert tuning_overhead.training_seconds(tmp_path / "missing") == {}


def test_overhead_is_not_recorded_on_other_data(folder, call, monkeypatch, tmp_path):
    commands = []
    journal = (folder / "journal.log").read_text()

    def run_fashioncnn(*arguments):
        commands.append(arguments)
        (out,) = [a.removeprefix("--out=") for a in arguments if a.startswith("--out=")]
        tuning_overhead.Path(out).mkdir(parents=True)
        (tuning_overhead.Path(out) / "journal.log").write_text(journal)

    monkeypatch.setattr(tuning_overhead, "run_fashioncnn", run_fashioncnn)
    monkeypatch.setattr(tuning_overhead, "RESULTS", tmp_path / "results")
    table = call(tuning_overhead, "--data", "sketches", "--trials", 2)
    assert "| trials of 1 epochs per hour, 2 in parallel | 351 | 2 |" in table
    assert "| overhead per trial, median (maximum) | 0.500 s (0.500 s) | 1 |" in table
    assert [command[:2] for command in commands] == [("tune", "baseline")] * 3
    assert not (tmp_path / "results").exists()
    call(tuning_overhead)
    assert (tmp_path / "results" / "tuning" / "overhead.json").exists()


@pytest.fixture
def search(monkeypatch, tmp_path, folder):
    """Return a function that searches with a fake ``fashioncnn tune``; returns its commands."""
    monkeypatch.setattr(tuning_gain, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(tuning_gain, "SEARCHES", tmp_path / "searches")
    (tmp_path / "searches" / "tpe").mkdir(parents=True)
    (folder / "journal.log").rename(tmp_path / "searches" / "tpe" / "journal.log")
    (tmp_path / "searches" / "tpe" / "best.toml").write_text("[training]\n")
    commands = []

    def run_fashioncnn(*arguments):
        commands.append(arguments)
        document = {"sampler": "tpe", "seed": 0, "epochs": 20, "best": {}, "importances": {}}
        return json.dumps({**document, "trials": [], "path": "not recorded"})

    monkeypatch.setattr(tuning_gain, "run_fashioncnn", run_fashioncnn)

    def search(**changes):
        options = {"minutes": 40, "jobs": 2, "space": "a space", "precision": "fp32"}
        options |= {"seed": 0, "epochs": 20, **changes}
        tuning_gain.search("tpe", argparse.Namespace(**options))
        return commands

    return search


def test_search_resumes_with_the_remaining_time_and_is_recorded_once(search, tmp_path):
    (command,) = search()
    assert "--timeout=2390s" in command, "40 minutes minus 20 s of two parallel jobs"
    assert {"--set=runtime.precision=fp32", "--space=a space", "--epochs=20"} <= set(command)
    recorded = common.read_result(tmp_path / "results" / "tpe.json")
    assert recorded["minutes"] == 40
    assert "path" not in recorded
    assert (tmp_path / "results" / "tpe.toml").exists()
    assert len(search()) == 1, "recorded already"
    with pytest.raises(SystemExit, match="recorded with other options"):
        search(minutes=60)


def test_too_few_seeds_are_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(tuning_gain, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match="published, tpe, random: the table needs"):
        tuning_gain.print_table()


def test_equal_recipes_have_no_difference():
    assert tuning_gain.difference_cell([1.0, 2.0], [1.0, 2.0], 2) == ""


def test_recorded_best_recipes_resolve():
    from fashioncnn.config import resolve

    for sampler in tuning_gain.SAMPLERS:
        resolve(str(tuning_gain.FOLDER / f"{sampler}.toml"), environment={})
