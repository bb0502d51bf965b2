import os
from pathlib import Path

import pytest

from fashioncnn.config import resolve
from fashioncnn.errors import RunError, UsageError
from fashioncnn.files import write_atomic
from fashioncnn.runs import create_run, open_run, read_json


def test_numbered_runs_never_share_a_folder():
    settings = resolve()
    paths = [create_run(None, settings).path for _ in range(3)]
    assert [str(p) for p in paths] == ["runs/train-1", "runs/train-2", "runs/train-3"]


def test_numbers_go_on_after_a_gap():
    Path("runs/train-7").mkdir(parents=True)
    assert create_run(None, resolve()).path.name == "train-8"


def test_out_is_the_run_folder_itself_and_must_be_empty(tmp_path):
    run = create_run(tmp_path / "a" / "b", resolve())
    assert run.config.exists()
    with pytest.raises(UsageError, match="already holds something"):
        create_run(tmp_path / "a" / "b", resolve())


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError):
        create_run(tmp_path / "file", resolve())
    with pytest.raises(UsageError, match="cannot be written"):
        create_run(tmp_path / "file" / "run", resolve())


def test_open_run_names_what_is_missing(tmp_path):
    with pytest.raises(UsageError, match="no such run folder"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"no config\.toml"):
        open_run(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_atomic(path, b"old")

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["metrics.json"]


def test_only_one_process_trains_in_a_run(tmp_path):
    run = create_run(tmp_path / "run", resolve())
    with run.lock(), pytest.raises(RunError, match="another process"), run.lock():
        pass
    with run.lock():
        pass


def test_history_survives_as_it_was(tmp_path):
    run = create_run(tmp_path / "run", resolve())
    assert run.read_history() == []
    records = [{"epoch": 1, "train_loss": 0.1 + 0.2, "test_loss": None}]
    run.write_history(records)
    assert run.read_history() == records


@pytest.mark.parametrize("content", ["{", '{"epoch": 2}', "[]", "null", "[" * 100_000])
def test_damaged_history_is_named(tmp_path, content):
    run = create_run(tmp_path / "run", resolve())
    run.history.write_text(content)
    with pytest.raises(RunError, match=r"history\.jsonl: damaged"):
        run.read_history()


@pytest.mark.parametrize("content", ["{", "{}", "[1]", "null", "3", "[" * 100_000])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(RunError, match=r"metrics\.json: damaged"):
        read_json(tmp_path / "metrics.json", "test")


def test_files_of_a_later_version_are_refused(tmp_path):
    (tmp_path / "metrics.json").write_text('{"schema": 2, "test": null}')
    with pytest.raises(RunError, match=r"metrics\.json: of another version .*schema 2"):
        read_json(tmp_path / "metrics.json", "test")
