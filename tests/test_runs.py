"""Run folders: creation, locks, and their JSON files."""

import json
import re
from pathlib import Path

import pytest

from fashioncnn.config import resolve
from fashioncnn.errors import OtherVersionError, RunError, UsageError, WriteError
from fashioncnn.files import temporary_path
from fashioncnn.runs import create_run, new_run, open_run, read_json


@pytest.fixture
def run(tmp_path):
    return create_run(tmp_path / "run", resolve())


def test_numbered_runs_have_different_folders():
    paths = [create_run(None, resolve()).path for _ in range(3)]
    assert [str(path) for path in paths] == ["runs/train-1", "runs/train-2", "runs/train-3"]


def test_number_of_a_new_run_is_the_highest_plus_one():
    Path("runs/train-7").mkdir(parents=True)
    Path("runs/train-x").mkdir()
    assert create_run(None, resolve()).path.name == "train-8"


def test_number_taken_by_another_process_is_skipped(monkeypatch):
    create_run(None, resolve())
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))  # listed before the other one existed
    assert create_run(None, resolve()).path.name == "train-2"


def test_given_folder_has_the_settings_and_must_be_empty(tmp_path):
    run = create_run(tmp_path / "a" / "b", resolve())
    assert run.settings() == resolve()
    (tmp_path / "empty").mkdir()
    create_run(tmp_path / "empty", resolve())
    message = r"--out .*/a/b: not empty; name a new folder, or resume it with --resume .*/a/b"
    with pytest.raises(UsageError, match=message):
        create_run(tmp_path / "a" / "b", resolve())
    with pytest.raises(UsageError, match=r"--out .*/a: not empty; name a new folder$"):
        create_run(tmp_path / "a", resolve())


def test_folder_that_cannot_be_created_is_rejected(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a folder"):
        create_run(tmp_path / "file", resolve())
    with pytest.raises(UsageError, match="file/run: cannot be written"):
        create_run(tmp_path / "file" / "run", resolve())


def test_opened_run_must_exist(run, tmp_path):
    assert open_run(run.path) == run
    with pytest.raises(UsageError, match="no such run folder"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"not a run folder \(it has no config\.toml\)"):
        open_run(tmp_path)


def test_locked_run_is_rejected(run):
    with run.lock(), pytest.raises(RunError, match="another process is training"), run.lock():
        pass
    with run.lock():
        pass


def test_history_is_read_as_written(run):
    assert run.read_history() == []
    records = [{"epoch": 1, "train_loss": 0.1 + 0.2, "test_loss": None}]
    run.write_history(records)
    assert run.read_history() == records


@pytest.mark.parametrize("content", ["{", '{"epoch": 2}', "[]", "null", "[" * 100_000])
def test_damaged_history_is_reported(run, content):
    run.history.write_text(content)
    with pytest.raises(RunError, match=r"history\.jsonl: damaged"):
        run.read_history()


@pytest.mark.parametrize("content", ["{", "{}", "[1]", "null", "3", "[" * 100_000])
def test_damaged_json_is_reported(tmp_path, content):
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(RunError, match=r"metrics\.json: damaged"):
        read_json(tmp_path / "metrics.json", "test")


@pytest.mark.parametrize("end", ["1", "2", '1, "checksum": null', '2, "checksum": null'])
def test_json_of_known_schemas_is_read(tmp_path, end):
    (tmp_path / "metrics.json").write_text(f'{{"test": null, "schema": {end}}}')
    assert read_json(tmp_path / "metrics.json", "test")["test"] is None


@pytest.mark.parametrize("end", ['2, "chfcksum": "0"', '1, "checksum": "0"', '2, "checksum": "0"'])
def test_json_without_the_right_checksum_is_rejected(tmp_path, end):
    (tmp_path / "metrics.json").write_text(f'{{"test": null, "schema": {end}}}')
    with pytest.raises(RunError, match=r"metrics\.json: damaged or edited \((no|wrong) checksum\)"):
        read_json(tmp_path / "metrics.json", "test")


@pytest.mark.parametrize("schema", ["3", '"2"', "null"])
def test_json_of_other_schemas_is_rejected(tmp_path, schema):
    (tmp_path / "metrics.json").write_text(f'{{"schema": {schema}, "test": null}}')
    message = r"metrics\.json: written by another version of fashioncnn .*reads 1 and 2"
    with pytest.raises(OtherVersionError, match=message):
        read_json(tmp_path / "metrics.json", "test")


def test_environment_is_empty_if_it_is_missing(run):
    assert run.read_environment() == {}
    run.environment.write_text("{")
    with pytest.raises(RunError, match=r"environment\.json: damaged"):
        run.read_environment()
    run.environment.write_text('{"schema": 3}')
    with pytest.raises(OtherVersionError):
        run.read_environment()


def test_environment_of_version_0_1_has_the_new_keys(run):
    old = {"schema": 1, "cores": 2, "began_from": "abc", "taught_by": {"accurate": "def"}}
    run.environment.write_text(json.dumps(old))
    assert run.read_environment() == {
        "schema": 2,
        "cores": 2,
        "initialized_from": "abc",
        "teachers": {"accurate": "def"},
    }


@pytest.fixture
def trained(run):
    """A run with settings, history and metrics."""
    run.config.write_text("[data]\nsource = 'a'\nvalidation = 20\n")
    run.write_history([{"epoch": 1, "train_loss": 0.5}])
    run.write_metrics({"schema": 2, "validation": None, "test": None, "summary": {}})
    return run


def test_metrics_are_read_as_written(trained):
    expected = {"schema": 2, "validation": None, "test": None, "summary": {}}
    assert trained.require_intact() == expected
    trained.config.write_text("# moved\n[data]\nvalidation = 20\nsource = '/b'\n")
    assert trained.require_intact() == expected


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("config.toml", "20", "21"),
        ("config.toml", "20", "2020-01-01"),
        ("history.jsonl", "0.5", "0.4"),
        ("metrics.json", '"test": null', '"test": 1'),
        ("metrics.json", '"checksum"', '"checksom"'),
    ],
)
def test_document_changed_after_the_training_is_reported(trained, name, before, after):
    path = trained.path / name
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(RunError, match=rf"{name}: damaged,? or edited"):
        trained.require_intact()
    assert not trained.is_complete()


def test_complete_run_has_metrics_and_model(run):
    assert not run.trained
    assert not run.is_complete()
    run.config.write_text("[data]\nsource = 'a'\n")
    run.write_history([{"epoch": 1}])
    run.write_metrics({"schema": 2, "validation": None, "test": None, "summary": {}})
    assert run.trained
    assert not run.is_complete()
    run.model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (run.model / name).write_bytes(b"")
    assert run.is_complete()
    run.history.write_text('{"epoch": 1, "train_loss": 0.5}\n')
    assert not run.is_complete()
    run.metrics.write_text('{"schema": 3}')
    with pytest.raises(OtherVersionError):
        run.is_complete()


def test_run_is_finished_once_its_report_is_written(run):
    run.report.write_text("")
    assert not run.finished
    run.metrics.write_text("{}")
    assert run.finished
    run.mark_unfinished()
    assert not run.metrics.exists()
    assert not run.report.exists()
    run.mark_unfinished()


def test_lock_removes_what_a_killed_process_left(run):
    run.checkpoints.mkdir()
    run.model.mkdir()
    for path in (run.history, run.checkpoints / "step-1.json", run.model / "config.json"):
        temporary_path(path).write_bytes(b"half")
    with run.lock():
        assert {p.name for p in run.path.rglob("*")} == {"config.toml", "checkpoints", "model"}


def test_new_run_is_complete_and_locked_when_it_appears(tmp_path):
    def write(run):
        assert not (tmp_path / "run").exists()
        with pytest.raises(RunError, match="another process"), run.lock():
            pass
        run.environment.write_text("{}")

    with new_run(tmp_path / "run", resolve(), write) as run:
        assert {p.name for p in run.path.iterdir()} == {"config.toml", "environment.json"}
        assert list(tmp_path.iterdir()) == [run.path]
        with pytest.raises(RunError, match="another process is training"), run.lock():
            pass
    with run.lock():
        pass


def test_failed_creation_leaves_nothing_and_names_the_final_file(tmp_path):
    def write(run):
        raise WriteError(run.environment, "No space left on device", "free some space")

    message = f"{tmp_path}/run/environment.json: cannot be written (No space left on device)"
    with (
        pytest.raises(WriteError, match=f"^{re.escape(message)}"),
        new_run(tmp_path / "run", resolve(), write),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_run_that_was_not_created_completely_is_opened_with_a_hint(tmp_path):
    (tmp_path / ".incomplete").touch()
    with pytest.raises(UsageError, match="not created completely; repeat the command"):
        open_run(tmp_path)


def test_run_of_version_0_1_cannot_be_resumed(run):
    run.require_resumable()
    run.config.write_text(run.config.read_text().replace("schema = 2\n", ""))
    with pytest.raises(OtherVersionError, match=r"run of fashioncnn 0\.1, .* start a new run"):
        run.require_resumable()


def test_paths_are_inside_the_run(run):
    assert run.teacher(2).path == run.path / "teachers" / "2"
    assert {path.parent for path in (run.config, run.environment, run.history, run.metrics)} == {
        run.path
    }
